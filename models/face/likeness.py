"""How much the face in a picture is like the person: cosine similarity, as it is and as a percentage.

The percentage is InsightFace's published conversion (SimilarityConverter of its InspireFace library, middle score 0.6 and
steepness 8), put at the cosine from which two faces count as one person's. InsightFace 2.1 says 0.4: so 60 % is where that
decision falls, 7 % is unrelated people (cosine 0), 94 % is what two good photos of one person reach (0.7). The tiny
recogniser has a scale of its own. Both are for reading, and no probability.
Source: https://github.com/deepinsight/insightface (cpp-package/inspireface, similarity_converter.h; gui/core/constants.py).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import FaceGenError
from ..pictures import Watch, unwatched, watched
from .analysis import FaceAnalysis, to_bgr
from .embeds import FaceEmbeds
from .recognisers import recogniser

AT_THRESHOLD, STEEPNESS = 0.6, 8.0
LOWEST, HIGHEST = 0.01, 1.0
NO_FACE = -1.0  # the lowest cosine there is


@dataclass(frozen=True)
class Likeness:
    """Of one picture: its place in the batch and its cosine to the person (-1 to 1), by the recogniser of that name.

    cosine is None where there is nothing to say, and `why` says why: no face, or one that this recogniser can't judge.
    """

    picture: int
    cosine: float | None
    recogniser: str
    why: str = ""

    @property
    def percent(self) -> float | None:
        """0 to 100, on the recogniser's own scale; None without a cosine."""
        return None if self.cosine is None else percentage(self.cosine, recogniser(self.recogniser).same_person)

    @property
    def by(self) -> str:
        """The recogniser, in words."""
        return recogniser(self.recogniser).words

    def as_dict(self) -> dict[str, Any]:
        """As plain values, rounded."""
        cosine, percent = (None if v is None else round(v, digits) for v, digits in ((self.cosine, 4), (self.percent, 1)))
        why = {"why": self.why} if self.why else {}
        return {"picture": self.picture, "cosine": cosine, "percent": percent, "recogniser": self.recogniser, **why}


def percentage(cosine: float, same_person: float) -> float:
    """A cosine (-1 to 1) as a percentage (1 to 100) that rises evenly and is 60 at `same_person`."""
    bias = math.log((AT_THRESHOLD - LOWEST) / (HIGHEST - AT_THRESHOLD))
    share = 1 / (1 + math.exp(-STEEPNESS * (cosine - same_person) - bias))
    return 100 * (LOWEST + (HIGHEST - LOWEST) * share)


def likenesses(
    images: Tensor, face_analysis: FaceAnalysis, face_embeds: FaceEmbeds, watch: Watch = unwatched
) -> list[Likeness]:
    """One for each picture of the RGB batch [B, H, W, 3] (0-1), in its order.

    Of several faces in a picture the one most like the person counts. With one face per image, the n-th picture is compared
    with the n-th face, as FaceID generates it; a picture that belongs to nobody counts as one without a face. There is none
    by a recogniser that can't judge the face or the person's photo (recognisers.Recogniser.judges).
    Raises WrongRecogniserError when the person was embedded with another recogniser.
    """
    face_embeds.require_recogniser(face_analysis.recogniser, face_analysis.pack.name)
    return [_likeness(picture, face_analysis, face_embeds, number) for number, picture in watched(images, watch)]


def _likeness(picture: Tensor, face_analysis: FaceAnalysis, face_embeds: FaceEmbeds, number: int) -> Likeness:
    name = face_analysis.recogniser
    judge = recogniser(name)
    target = _target(face_embeds, number)
    if target is None:
        return Likeness(number, None, name, "no face")
    if not all(judge.judges(face["bbox"], face["kps"], face["confidence"]) for face in _photos(face_embeds, number)):
        return Likeness(number, None, name, f"{judge.words} knows drawn faces only, and the person's photo is none")
    bgr = to_bgr(picture)
    found = face_analysis.find(bgr)
    faces = [face for face in found.faces if judge.judges(face.bbox, face.kps, face.confidence)]
    if not faces:
        return Likeness(number, None, name, "no face that it knows" if found.faces else "no face")
    identities = torch.nn.functional.normalize(face_analysis.embed(bgr, faces, found.picture), dim=-1)
    return Likeness(number, float((identities @ target).max()), name)


def _target(face_embeds: FaceEmbeds, number: int) -> Tensor | None:
    """The identity [512], of length 1, that this picture should show."""
    if not face_embeds.per_image:
        return face_embeds.combined("average").normed_identity[0]
    row = number % len(face_embeds)
    return None if face_embeds.is_nobody(row) else face_embeds.normed_identity[row]


def _photos(face_embeds: FaceEmbeds, number: int) -> list[dict[str, Any]]:
    """What is known of the faces that this picture is compared with, as far as it is known where they were found."""
    faces = face_embeds.faces
    if face_embeds.per_image:
        faces = faces[number % len(face_embeds) :][:1]
    return [face for face in faces if {"bbox", "kps", "confidence"} <= face.keys()]


def best_first(scores: list[Likeness]) -> list[Likeness]:
    """Most alike first, those without a likeness last; ties keep their order."""
    return sorted(scores, key=lambda score: -(NO_FACE - 1 if score.cosine is None else score.cosine))


def best_pictures(images: Tensor, scores: list[Likeness], keep: int) -> tuple[Tensor, list[Likeness]]:
    """The `keep` pictures most alike, best first, and their scores. Raises FaceGenError when keep is below 1."""
    if keep < 1:
        raise FaceGenError(f"keep must be 1 or more, got {keep}.")
    kept = best_first(scores)[:keep]
    return images[[score.picture for score in kept]], kept


def in_words(scores: Iterable[Likeness]) -> str:
    """One line per picture: "picture 3: 82 % by w600k_r50 (cosine 0.56)"."""
    return "\n".join(f"picture {score.picture}: {_in_words(score)}" for score in scores)


def _in_words(score: Likeness) -> str:
    if score.cosine is None:
        return score.why if score.why == "no face" else f"likeness not measured: {score.why}"
    return f"{score.percent:.0f} % by {score.by} (cosine {score.cosine:.2f})"
