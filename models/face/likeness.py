"""How much the face in a picture is like the person: cosine similarity, as it is and as a percentage.

The percentage is InsightFace's published conversion (SimilarityConverter of its InspireFace library, middle score 0.6 and
steepness 8), put at the threshold from which InsightFace 2.1 calls two faces the same person, a cosine of 0.4. So 60 % is
where that decision falls, 7 % is unrelated people (cosine 0), 94 % is what two good photos of one person reach (0.7). It
is a scale for reading, and not a probability.
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

SAME_PERSON = 0.4  # cosine
AT_THRESHOLD, STEEPNESS = 0.6, 8.0
LOWEST, HIGHEST = 0.01, 1.0
NO_FACE = -1.0  # the lowest cosine there is


@dataclass(frozen=True)
class Likeness:
    """Of one picture: its place in the batch and its cosine to the person (-1 to 1), None when it has no face."""

    picture: int
    cosine: float | None

    @property
    def percent(self) -> float:
        """0 to 100."""
        return 0.0 if self.cosine is None else percentage(self.cosine)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, rounded."""
        cosine = None if self.cosine is None else round(self.cosine, 4)
        return {"picture": self.picture, "cosine": cosine, "percent": round(self.percent, 1)}


def percentage(cosine: float) -> float:
    """A cosine (-1 to 1) as a percentage (1 to 100) that rises evenly and is 60 at SAME_PERSON."""
    bias = math.log((AT_THRESHOLD - LOWEST) / (HIGHEST - AT_THRESHOLD))
    share = 1 / (1 + math.exp(-STEEPNESS * (cosine - SAME_PERSON) - bias))
    return 100 * (LOWEST + (HIGHEST - LOWEST) * share)


def likenesses(
    images: Tensor, face_analysis: FaceAnalysis, face_embeds: FaceEmbeds, watch: Watch = unwatched
) -> list[Likeness]:
    """One for each picture of the RGB batch [B, H, W, 3] (0-1), in its order.

    Of several faces in a picture the one most like the person counts. With one face per image, the n-th picture is compared
    with the n-th face, as FaceID generates it; a picture that belongs to nobody counts as one without a face.
    Raises WrongRecogniserError when the person was embedded with another recogniser.
    """
    face_embeds.require_recogniser(face_analysis.recogniser, face_analysis.pack.name)
    return [
        Likeness(number, _cosine(picture, face_analysis, face_embeds, number)) for number, picture in watched(images, watch)
    ]


def _cosine(picture: Tensor, face_analysis: FaceAnalysis, face_embeds: FaceEmbeds, number: int) -> float | None:
    target = _target(face_embeds, number)
    bgr = to_bgr(picture)
    found = face_analysis.find(bgr)
    if target is None or not found.faces:
        return None
    identities = torch.nn.functional.normalize(face_analysis.embed(bgr, found.faces, found.picture), dim=-1)
    return float((identities @ target).max())


def _target(face_embeds: FaceEmbeds, number: int) -> Tensor | None:
    """The identity [512], of length 1, that this picture should show."""
    if not face_embeds.per_image:
        return face_embeds.combined("average").normed_identity[0]
    row = number % len(face_embeds)
    return None if face_embeds.is_nobody(row) else face_embeds.normed_identity[row]


def best_first(scores: list[Likeness]) -> list[Likeness]:
    """Most alike first, those without a face last; ties keep their order."""
    return sorted(scores, key=lambda score: -(NO_FACE - 1 if score.cosine is None else score.cosine))


def best_pictures(images: Tensor, scores: list[Likeness], keep: int) -> tuple[Tensor, list[Likeness]]:
    """The `keep` pictures most alike, best first, and their scores. Raises FaceGenError when keep is below 1."""
    if keep < 1:
        raise FaceGenError(f"keep must be 1 or more, got {keep}.")
    kept = best_first(scores)[:keep]
    return images[[score.picture for score in kept]], kept


def in_words(scores: Iterable[Likeness]) -> str:
    """One line per picture: "picture 3: 82 % (cosine 0.56)"."""
    return "\n".join(
        f"picture {s.picture}: " + ("no face" if s.cosine is None else f"{s.percent:.0f} % (cosine {s.cosine:.2f})")
        for s in scores
    )
