"""What the tiny model can do, measured on people that it never saw: by the product's engine, or in memory."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....models.face.analysis import to_bgr
from ....models.face.likeness import percentage
from ....models.face.recognisers import TINY
from ....models.identity.shown import Shown
from ....standalone.engine import Engine
from ....standalone.identity import apply_faceid
from ....standalone.model_files import find_model_files
from ..crops import channels_first, sharpness
from ..data import EACH, REALISTIC, Drawings
from ..drawings.person import STYLES
from ..judge import HELD, Judge
from ..networks import SIDE
from .sampling import GUIDANCE, STEPS, Job

SUBJECT = "a portrait"
ASKED = {"glasses": "wearing round glasses", "hair": "red hair", "background": "blue background"}
ANSWERS = {"glasses": "yes", "hair": "red", "background": "blue"}


class Portraits(Protocol):
    """Who draws. gallery: the identities of the unseen people's photos, [people, 512], of length 1."""

    guidance: float
    steps: int
    gallery: Tensor

    def draw(self, jobs: list[Job]) -> Tensor:
        """[n, 3, SIDE, SIDE], 0-255."""

    def recognise(self, pictures: Tensor) -> list[Tensor | None]:
        """Of each picture the identity, [512], of length 1; None where no face is found."""


class EnginePortraits:
    """The engine at the size that the model was trained for."""

    def __init__(self, models: Path, unseen: Drawings, guidance: float = GUIDANCE, steps: int = STEPS):
        self.engine, self.guidance, self.steps = Engine(find_model_files(models)), guidance, steps
        photos = [unseen.pictures[n * EACH + REALISTIC].float() / 255 for n in range(unseen.ready)]
        self.faces = [self.engine.embed(photo[None])[0] for photo in photos]
        self.gallery = torch.cat([face.normed_identity for face in self.faces])
        self.drawn, self.seconds = 0, 0.0

    def draw(self, jobs: list[Job]) -> Tensor:
        began = time.perf_counter()
        pictures = [self._draw(job) for job in jobs]
        self.drawn, self.seconds = self.drawn + len(jobs), self.seconds + time.perf_counter() - began
        return torch.stack(pictures)

    def _draw(self, job: Job) -> Tensor:
        face = self.faces[job.person]
        apply_faceid(self.engine.checkpoint.unet, self.engine.adapter, [Shown(face, job.weight, job.s_scale)])
        positive, negative = job.prompts()
        (picture,) = self.engine.checkpoint.sample(
            [positive],
            [negative],
            width=SIDE,
            height=SIDE,
            steps=self.steps,
            guidance=self.guidance,
            generator=[torch.Generator().manual_seed(job.seed)],
        )
        return (picture.movedim(-1, 0) * 255).round()

    def recognise(self, pictures: Tensor) -> list[Tensor | None]:
        return [self._recognise(picture) for picture in pictures]

    def _recognise(self, picture: Tensor) -> Tensor | None:
        bgr = to_bgr(picture.movedim(0, -1) / 255)
        faces = self.engine.face_analysis.detect(bgr)
        return F.normalize(self.engine.face_analysis.embed(bgr, faces[:1])[0], dim=0) if faces else None


def evaluate(portraits: Portraits, unseen: Drawings, judge: Judge, people: int, say: Callable[[str], None]) -> dict:
    """All figures, as fractions of 1."""
    figures = {"people": people, "guidance": portraits.guidance, "steps": portraits.steps}
    for measure in (instruments, identity_and_style, structure, prompt_words):
        figures |= measure(portraits, unseen, judge, people)
        say(json.dumps(figures))
    return figures


def _alike(portraits: Portraits, pictures: Tensor) -> list[Tensor | None]:
    """Cosines to everyone in the gallery."""
    return [None if identity is None else portraits.gallery @ identity for identity in portraits.recognise(pictures)]


def instruments(portraits: Portraits, unseen: Drawings, judge: Judge, people: int) -> dict:
    """The instruments themselves, on drawings: what generated pictures could reach at best."""
    rows = [n * EACH + EACH // 2 + s for n in range(people) for s in range(len(STYLES))]
    rows = [row for row in rows if not unseen.changed[row]]
    pictures = channels_first(unseen.pictures[rows]).cpu()
    alike, told = _alike(portraits, pictures), judge.look(pictures)["style"]
    owners = [row // EACH for row in rows]
    return {
        "drawings": {
            **_likeness(alike, owners),
            "style": _share([style == STYLES[row % len(STYLES)] for style, row in zip(told, rows, strict=True)]),
            "sharpness": {
                style: round(float(value)) for style, value in zip(STYLES, _sharpness_of(unseen, people), strict=True)
            },
        }
    }


def _sharpness_of(unseen: Drawings, people: int) -> list[Tensor]:
    return [
        sharpness(channels_first(unseen.pictures[torch.arange(people) * EACH + s]).cpu()).mean() for s in range(len(STYLES))
    ]


def _likeness(alike: list[Tensor | None], owners: list[int]) -> dict:
    """Retrieval, and how cosines and percentages lie for the same person and for strangers."""
    seen = [(cosines, n) for cosines, n in zip(alike, owners, strict=True) if cosines is not None]
    same = np.asarray([float(cosines[n]) for cosines, n in seen] or [np.nan])
    others = [np.delete(cosines.numpy(), n) for cosines, n in seen]
    other = np.concatenate(others) if others else np.asarray([np.nan])
    percent = [[percentage(float(c), TINY.same_person) for c in cosines] for cosines in (same, other)]
    return {
        "found": _share([cosines is not None for cosines in alike]),
        "retrieval": _share(
            [cosines is not None and int(cosines.argmax()) == n for cosines, n in zip(alike, owners, strict=True)]
        ),
        "cosine_same": _spread(same),
        "cosine_other": _spread(other),
        "percent_same_above_80": _share([p > 80 for p in percent[0]]),
        "percent_other_below_20": _share([p < 20 for p in percent[1]]),
    }


def identity_and_style(portraits: Portraits, unseen: Drawings, judge: Judge, people: int) -> dict:
    jobs = [Job(n, style, SUBJECT, 1000 + 10 * n + s) for n in range(people) for s, style in enumerate(STYLES)]
    pictures = portraits.draw(jobs)
    alike, told = _alike(portraits, pictures), judge.look(pictures)["style"]
    without = portraits.draw([Job(n, STYLES[n % len(STYLES)], SUBJECT, 1000 + 10 * n, weight=0.0) for n in range(people)])
    sharp, drawn = sharpness(pictures), _sharpness_of(unseen, people)

    def by_style(values: list) -> dict:
        return {style: _share(values[s :: len(STYLES)]) for s, style in enumerate(STYLES)}

    hits = [cosines is not None and int(cosines.argmax()) == job.person for cosines, job in zip(alike, jobs, strict=True)]
    styled = [look == job.style for look, job in zip(told, jobs, strict=True)]
    return {
        "generated": _likeness(alike, [job.person for job in jobs]),
        "retrieval_by_style": by_style(hits),
        "retrieval_at_weight_0": _likeness(_alike(portraits, without), list(range(people)))["retrieval"],
        "style_recognised": _share(styled),
        "style_recognised_by_style": by_style(styled),
        "sharpness_of_drawings": {
            style: round(float(sharp[s :: len(STYLES)].mean() / drawn[s]), 3) for s, style in enumerate(STYLES)
        },
    }


def structure(portraits: Portraits, unseen: Drawings, judge: Judge, people: int) -> dict:
    """Squared error of pose and expression as the judge sees them, as a share of their variance."""
    rows = torch.arange(unseen.ready, device=unseen.count.device) * EACH + REALISTIC
    held = unseen.held(rows, HELD).cpu()
    variance = held.var(dim=0, correction=0)

    def error(pictures: Tensor) -> float:
        return round(float(((judge.look(pictures)["held"] - held[:people]) ** 2 / variance).mean()), 3)

    errors = {
        str(s): error(portraits.draw([Job(n, "realistic", SUBJECT, 5000 + n, s_scale=s) for n in range(people)]))
        for s in (0.0, 0.5, 1.0)
    }
    own = error(channels_first(unseen.pictures[rows[:people]]).cpu())
    return {"structure_error": errors, "structure_error_of_judge": own}


def prompt_words(portraits: Portraits, unseen: Drawings, judge: Judge, people: int) -> dict:
    """How often what was asked for is there, at weight 0 and 1; and how often it is there unasked, at weight 1."""
    figures: dict = {}
    for name, weight, words in (
        ("words_at_weight_0", 0.0, ", ".join(ASKED.values())),
        ("words_at_weight_1", 1.0, ", ".join(ASKED.values())),
        ("words_unasked", 1.0, SUBJECT),
    ):
        jobs = [Job(n, STYLES[n % len(STYLES)], words, 9000 + n, weight=weight) for n in range(people)]
        seen = judge.look(portraits.draw(jobs))
        figures[name] = {kind: _share([word == ANSWERS[kind] for word in seen[kind]]) for kind in ASKED}
    return figures


def _share(values: list) -> float:
    return round(float(np.mean(values)), 3)


def _spread(values: np.ndarray) -> dict[str, float]:
    return {f"{q} %": round(float(np.percentile(values, q)), 3) for q in (1, 5, 50, 95, 99)}
