"""What the tiny model can do, measured on people that it never saw, through the product's own engine."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.face.analysis import to_bgr
from ...models.face.embeds import FaceEmbeds
from ...models.style import load_style, style_files
from ...standalone.engine import Engine
from ...standalone.identity import apply_faceid
from ...standalone.model_files import find_model_files
from .data import Drawings, make_drawings
from .drawings.person import STYLES
from .judge import HELD, Judge, train_judge
from .recipe import Plan
from .worker import Worker

PEOPLE = 64
GUIDANCE, STEPS = 2.0, 20
SUBJECT = "a portrait"
ASKED = {"glasses": "wearing round glasses", "hair": "red hair", "background": "blue background"}
ANSWERS = {"glasses": "yes", "hair": "red", "background": "blue"}


class Portraits:
    """The engine at 128 x 128, with the people who are in its pictures."""

    def __init__(self, models: Path, unseen: Drawings, guidance: float = GUIDANCE, steps: int = STEPS):
        self.engine, self.guidance, self.steps = Engine(find_model_files(models)), guidance, steps
        realistic = STYLES.index("realistic")
        self.photos = [torch.from_numpy(unseen.pictures[n, 0, realistic] / np.float32(255)) for n in range(unseen.people)]
        self.held = unseen.structure[:, 0, realistic][:, HELD]
        self.faces = [self.engine.embed(photo[None])[0] for photo in self.photos]
        self.gallery = torch.cat([face.normed_identity for face in self.faces])
        self.sampled, self.seconds = 0, 0.0

    def sample(
        self, face: FaceEmbeds, words: dict[str, str], seed: int, weight: float = 1.0, s_scale: float = 1.0
    ) -> list[Tensor]:
        """A picture [128, 128, 3] (0-1) for each style -> prompt."""
        began = time.perf_counter()
        apply_faceid(self.engine.checkpoint.unet, self.engine.adapter, face, weight=weight, s_scale=s_scale)
        styles = [load_style(style_files()[style]) for style in words]
        pictures = self.engine.checkpoint.sample(
            [style.positive(text) for style, text in zip(styles, words.values(), strict=True)],
            [style.negative_prompt() for style in styles],
            width=128,
            height=128,
            steps=self.steps,
            guidance=self.guidance,
            generator=[torch.Generator().manual_seed(seed + i) for i in range(len(styles))],
        )
        self.sampled, self.seconds = self.sampled + len(styles), self.seconds + time.perf_counter() - began
        return list(pictures)

    def nearest(self, picture: Tensor) -> int | None:
        """Whose photo the picture is most like; None where no face is found in it."""
        identity = self.identity(picture)
        return None if identity is None else int((self.gallery @ identity).argmax())

    def identity(self, picture: Tensor) -> Tensor | None:
        bgr = to_bgr(picture)
        faces = self.engine.face_analysis.detect(bgr)
        return F.normalize(self.engine.face_analysis.embed(bgr, faces[:1])[0], dim=0) if faces else None


def evaluate(models: Path, work: Path, seed: int, say: Callable[[str], None], people: int = PEOPLE) -> dict:
    """All figures, as fractions of 1. `work` is the folder of the training; the judge and the unseen people are made in it."""
    worker = Worker(work, seed)
    judge = train_judge(worker, Drawings(work / "drawings", Plan().people), Plan().judge)
    unseen = make_drawings(worker, "unseen", PEOPLE)
    portraits = Portraits(models, unseen)
    figures = {"people": people, "guidance": portraits.guidance, "steps": portraits.steps}
    for measure in (recogniser, identity_and_style, structure, prompt_words):
        figures |= measure(portraits, unseen, judge, people)
        say(json.dumps(figures))
    return {**figures, "seconds_per_picture": round(portraits.seconds / portraits.sampled, 2)}


def recogniser(portraits: Portraits, unseen: Drawings, judge: Judge, people: int) -> dict:
    """The instruments themselves, on drawings: what generated pictures could reach at best."""
    right, same, other, found = [], [], [], []
    told = []
    for n in range(people):
        for s, style in enumerate(STYLES):
            if unseen.changed[n, 1, s]:
                continue
            picture = torch.from_numpy(unseen.pictures[n, 1, s] / np.float32(255))
            identity = portraits.identity(picture)
            found.append(identity is not None)
            told.append(judge.look([unseen.pictures[n, 1, s]])["style"] == [style])
            if identity is not None:
                alike = portraits.gallery @ identity
                right.append(int(alike.argmax()) == n)
                same.append(float(alike[n]))
                other.append(float(alike.sum() - alike[n]) / (len(alike) - 1))
    return {
        "drawings": {
            "found": _share(found),
            "retrieval": _share(right),
            "cosine_same": _share(same),
            "cosine_other": _share(other),
            "style": _share(told),
        }
    }


def identity_and_style(portraits: Portraits, unseen: Drawings, judge: Judge, people: int) -> dict:
    hits: dict[str, list[bool]] = {style: [] for style in STYLES}
    styled: dict[str, list[bool]] = {style: [] for style in STYLES}
    without, seen = [], []
    for n in range(people):
        pictures = portraits.sample(portraits.faces[n], dict.fromkeys(STYLES, SUBJECT), seed=1000 + 10 * n)
        looks = judge.look([_levels(picture) for picture in pictures])
        for style, picture, look in zip(STYLES, pictures, looks["style"], strict=True):
            nearest = portraits.nearest(picture)
            seen.append(nearest is not None)
            hits[style].append(nearest == n)
            styled[style].append(look == style)
        style = STYLES[n % len(STYLES)]
        (picture,) = portraits.sample(portraits.faces[n], {style: SUBJECT}, seed=1000 + 10 * n, weight=0.0)
        without.append(portraits.nearest(picture) == n)
    return {
        "retrieval": _share([hit for row in hits.values() for hit in row]),
        "retrieval_by_style": {style: _share(row) for style, row in hits.items()},
        "retrieval_at_weight_0": _share(without),
        "face_found": _share(seen),
        "style_recognised": _share([hit for row in styled.values() for hit in row]),
        "style_recognised_by_style": {style: _share(row) for style, row in styled.items()},
    }


def structure(portraits: Portraits, unseen: Drawings, judge: Judge, people: int) -> dict:
    """Squared error of pose and expression as the judge sees them, as a share of their variance."""
    variance = portraits.held.var(axis=0)
    errors = {}
    for s_scale in (0.0, 0.5, 1.0):
        pictures = [
            _levels(portraits.sample(portraits.faces[n], {"realistic": SUBJECT}, seed=5000 + n, s_scale=s_scale)[0])
            for n in range(people)
        ]
        off = judge.look(pictures)["held"] - portraits.held[:people]
        errors[str(s_scale)] = round(float((off**2 / variance).mean()), 3)
    own = judge.look([_levels(photo) for photo in portraits.photos[:people]])["held"] - portraits.held[:people]
    return {"structure_error": errors, "structure_error_of_judge": round(float((own**2 / variance).mean()), 3)}


def prompt_words(portraits: Portraits, unseen: Drawings, judge: Judge, people: int) -> dict:
    """How often what was asked for is there, at weight 0 and 1; and how often it is there unasked, at weight 1."""
    figures: dict = {}
    for name, weight, words in (
        ("words_at_weight_0", 0.0, ", ".join(ASKED.values())),
        ("words_at_weight_1", 1.0, ", ".join(ASKED.values())),
        ("words_unasked", 1.0, SUBJECT),
    ):
        pictures = [
            _levels(portraits.sample(portraits.faces[n], {STYLES[n % len(STYLES)]: words}, seed=9000 + n, weight=weight)[0])
            for n in range(people)
        ]
        seen = judge.look(pictures)
        figures[name] = {kind: _share([word == ANSWERS[kind] for word in seen[kind]]) for kind in ASKED}
    return figures


def _levels(picture: Tensor) -> np.ndarray:
    return (picture.numpy() * 255).round().astype(np.uint8)


def _share(values: list) -> float:
    return round(float(np.mean(values)), 3)
