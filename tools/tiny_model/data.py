"""Drawings to train with: many people, each seen twice, each time in all styles."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from ...atomic_write import atomic_write
from .drawings.drawing import SIZE, draw
from .drawings.person import HAIR_COLOURS, STYLES, Person, View, words
from .worker import Worker

VIEWS = 2
CHANGED = 0.3  # of the drawings of the second view, where the person wears another hair colour or glasses
ARRAYS = {
    "pictures": ((SIZE, SIZE, 3), np.uint8),
    "points": ((5, 2), np.float32),
    "structure": ((6,), np.float32),
    "changed": ((), np.bool_),
}


@dataclass(frozen=True)
class Drawings:
    """`people` persons, VIEWS views, STYLES styles; the arrays' first three axes. Made once, then mapped from `folder`.

    changed says where hair or glasses are not the person's own, but what the caption asks for.
    """

    folder: Path
    people: int

    def __getattr__(self, name: str):
        if name not in ARRAYS:
            raise AttributeError(name)
        array = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        self.__dict__[name] = array
        return array

    @cached_property
    def vectors(self) -> np.ndarray:
        """Each person's attributes, [people, n]."""
        return np.load(self.folder / "vectors.npy")

    @cached_property
    def attributes(self) -> np.ndarray:
        """The same, each with mean 0 and a spread of about 1."""
        return (self.vectors - self.vectors.mean(axis=0)) / (self.vectors.std(axis=0) + 0.05)

    @cached_property
    def captions(self) -> list[list[list[dict[str, str]]]]:
        """[person][view][style]: kind of thing -> phrase."""
        return [json.loads(line) for line in (self.folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()]


def make_drawings(worker: Worker, name: str, people: int) -> Drawings:
    """Each process draws its share; a stopped one starts its share again."""
    folder = worker.folder / name
    drawings = Drawings(folder, people)
    if (folder / "captions.jsonl").is_file():
        return drawings
    worker.say(f"{name}: drawing {people * VIEWS * len(STYLES)} pictures")
    if worker.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        for key, (shape, kind) in ARRAYS.items():
            np.lib.format.open_memmap(folder / f"{key}.npy", "w+", kind, (people, VIEWS, len(STYLES), *shape))
    worker.wait()
    arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r+") for key in ARRAYS}
    lines = []
    for number in range(worker.rank, people, worker.world):
        vector, captions = _draw_person(np.random.default_rng([worker.seed, *name.encode(), number]), number, arrays)
        lines.append((number, vector.tolist(), captions))
    for array in arrays.values():
        array.flush()
    (folder / f"share.{worker.rank}.json").write_text(json.dumps(lines), encoding="utf-8")
    worker.wait()
    if worker.rank == 0:
        _gather(folder, worker.world)
    worker.wait()
    return drawings


def _gather(folder: Path, shares: int) -> None:
    paths = [folder / f"share.{rank}.json" for rank in range(shares)]
    lines = sorted(line for path in paths for line in json.loads(path.read_text(encoding="utf-8")))
    np.save(folder / "vectors.npy", np.asarray([vector for _, vector, _ in lines], np.float32))
    text = "".join(f"{json.dumps(captions)}\n" for _, _, captions in lines)
    atomic_write(folder / "captions.jsonl", text.encode())
    for path in paths:
        path.unlink()


def _draw_person(rng: np.random.Generator, number: int, arrays: dict[str, np.ndarray]):
    person = Person.random(rng)
    captions = []
    for v in range(VIEWS):
        common = View.random(rng)
        captions.append([])
        for s, style in enumerate(STYLES):
            other = View.random(rng)  # the pose and the expression are the view's; light, framing and background aren't
            view = replace(other, **{key: getattr(common, key) for key in POSE})
            changed = v > 0 and rng.random() < CHANGED
            who = _changed(person, rng) if changed else person
            picture, points = draw(who, view, style)
            for key, value in zip(ARRAYS, (picture, points, view.structure(), changed), strict=True):
                arrays[key][number, v, s] = value
            captions[-1].append(words(who, view))
    return person.vector(), captions


POSE = ("yaw", "pitch", "roll", "smile", "mouth_open", "eyelids")


def _changed(person: Person, rng: np.random.Generator) -> Person:
    if person.glasses == "none" and rng.random() < 0.5:
        return person.with_glasses(str(rng.choice(["round", "square"])))
    return person.with_hair(str(rng.choice(list(HAIR_COLOURS))), rng)


# --- faces ----------------------------------------------------------------------------------------------------------


def alignment(points: np.ndarray, side: int) -> np.ndarray:
    """From pixels of a picture to those of the aligned face, [2, 3]; side is 112 or 224."""
    from insightface.utils.face_align import estimate_norm

    return estimate_norm(points, side)


def aligned(picture: np.ndarray, points: np.ndarray, side: int) -> np.ndarray:
    """InsightFace's aligned face [side, side, 3] of a picture."""
    return cv2.warpAffine(picture, alignment(points, side), (side, side))


def softened(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a generator might have drawn it: less sharp, other light and colours, some noise."""
    side = picture.shape[0]
    small = round(side / rng.uniform(1.0, 4.5))
    picture = cv2.resize(cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), (side, side))
    gain, shift = rng.normal(1, 0.08, 3) * rng.normal(1, 0.12), rng.normal(0, 8, 3) + rng.normal(0, 8)
    noise = rng.normal(0, rng.uniform(0, 8), (side // 2, side // 2, 1)).repeat(2, 0).repeat(2, 1)
    return np.clip(picture * gain + shift + noise, 0, 255).astype(np.uint8)
