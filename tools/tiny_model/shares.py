"""Drawing people, a share of them in each of several processes: no torch here, so that they start at once.

Every process writes into the same mapped arrays, then a number into a file of its own: whose number is there is drawn.
"""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from . import clutter
from .drawings.drawing import draw
from .drawings.person import BACKGROUNDS, HAIR_COLOURS, HAIR_STYLES, STYLES, Person, View, words
from .language import caption, load_tokenizer, token_ids

VIEWS = 2
SIDE = 256  # of a picture, in pixels; latents are an eighth of it
CHANGED = 0.5  # of the drawings of the second view, where the person wears another hair colour or glasses
TEXTS = 6  # captions of each kind
KEPT = (0.35, 0.85)  # how much a caption says, of a picture with a face to follow and of one without
CLUTTER = 2  # pictures without a face that are made along with each person
KINDS = {"style": STYLES, "glasses": ("no", "yes"), "hair": (*HAIR_COLOURS, "none"), "background": tuple(BACKGROUNDS)}
POSE = ("yaw", "pitch", "roll", "smile", "mouth_open", "eyelids")
ENOUGH = "enough"  # a file that ends the drawing early
ARRAYS = {
    "pictures": ((VIEWS, len(STYLES), SIDE, SIDE, 3), np.uint8),
    "points": ((VIEWS, len(STYLES), 5, 2), np.float32),
    "structure": ((VIEWS, len(STYLES), 6), np.float32),
    "changed": ((VIEWS, len(STYLES)), np.bool_),
    "answers": ((VIEWS, len(STYLES), len(KINDS)), np.int16),
    "texts": ((VIEWS, len(STYLES), len(KEPT), TEXTS, 77), np.int16),
    "clutter": ((CLUTTER, clutter.SIDE, clutter.SIDE, 3), np.uint8),
}


def person_of(seed: int, name: str, number: int) -> tuple[Person, np.random.Generator]:
    """The person of that number, and the chance that goes on from there."""
    rng = np.random.default_rng([seed, *name.encode(), number])
    return Person.random(rng), rng


def create(folder: Path, people: int) -> None:
    """Empty arrays for so many people, unless there are some."""
    if (folder / "people.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for key, (shape, kind) in ARRAYS.items():
        np.lib.format.open_memmap(folder / f"{key}.npy", "w+", kind, (people, *shape))
    (folder / "people.json").write_text(json.dumps(people), encoding="utf-8")


def people_in(folder: Path) -> int:
    """How many the folder is made for."""
    return int(json.loads((folder / "people.json").read_text(encoding="utf-8")))


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    return {key: np.load(folder / f"{key}.npy", mmap_mode="r+") for key in ARRAYS}


def drawn(folder: Path) -> set[int]:
    """The numbers of all who are drawn."""
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("drawn.*.txt")]
    return {int(line) for text in texts for line in text.rpartition("\n")[0].split()}


def draw_share(folder: Path, tokenizer: Path, seed: int, name: str, rank: int, processes: int) -> None:
    """Every person of this process who isn't drawn yet, in order, until the folder holds a file named ENOUGH."""
    cv2.setNumThreads(1)
    arrays, words_known, before = arrays_of(folder), load_tokenizer(tokenizer), drawn(folder)
    with open(folder / f"drawn.{rank}.txt", "a", encoding="utf-8") as lines:
        for number in range(rank, len(arrays["points"]), processes):
            if number in before:
                continue
            if (folder / ENOUGH).exists():
                return
            _draw_person(seed, name, number, arrays, words_known)
            lines.write(f"{number}\n")
            lines.flush()


def _draw_person(seed: int, name: str, number: int, arrays: dict[str, np.ndarray], tokenizer) -> None:
    person, rng = person_of(seed, name, number)
    for v in range(VIEWS):
        common = View.random(rng)
        for s, style in enumerate(STYLES):
            other = View.random(rng)  # the pose and the expression are the view's; light, framing and background aren't
            view = replace(other, **{key: getattr(common, key) for key in POSE})
            changed = v > 0 and rng.random() < CHANGED
            who = _changed(person, rng) if changed else person
            picture, points = draw(who, view, style, size=SIDE)
            phrases = words(who, view)
            shares = [share * min(n, 1) for share in KEPT for n in range(TEXTS)]  # the first of each says the style alone
            texts = [caption(style, phrases, rng, share, changed) for share in shares]
            values = {
                "pictures": picture,
                "points": points,
                "structure": view.structure(),
                "changed": changed,
                "answers": _answers(phrases, s),
                "texts": token_ids(tokenizer, texts).reshape(len(KEPT), TEXTS, -1),
            }
            for key, value in values.items():
                arrays[key][number, v, s] = value
    arrays["clutter"][number] = [clutter.clutter(rng) for _ in range(CLUTTER)]


def _changed(person: Person, rng: np.random.Generator) -> Person:
    """With glasses, another hair colour or both; who is bald gets hair."""
    glasses = person.glasses == "none" and rng.random() < 0.6
    if glasses:
        person = person.with_glasses(str(rng.choice(["round", "square"])))
    if not glasses or rng.random() < 0.4:
        if person.hair_style == "bald":
            person = replace(person, hair_style=str(rng.choice([style for style in HAIR_STYLES if style != "bald"])))
        person = person.with_hair(str(rng.choice(list(HAIR_COLOURS))), rng)
    return person


def _answers(phrases: dict[str, str], style: int) -> list[int]:
    """Which of each of KINDS it is."""
    hair = phrases.get("hair_colour", "none").removesuffix(" hair")
    background = phrases["background"].removesuffix(" background")
    return [style, int("glasses" in phrases), KINDS["hair"].index(hair), KINDS["background"].index(background)]
