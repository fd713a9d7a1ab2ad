"""Safety: what a checker says of a picture, on one scale for all checkers, and several checkers as one.

A checker that can't judge a picture raises: "no score" must never read as "safe".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...errors import FaceGenError, NoVerdictError
from ..pictures import Watch, batches, unwatched

# Where every checker's own limits lie on the common scale. It is NudeNet's default limit, so that its scores are unchanged:
# in its own examples it gives exposed parts 0.68 to 0.80, and of 109 real portraits none more than 0.36.
DEFAULT_THRESHOLD = 0.4
PRESETS = ("default", "strict", "lenient")
ANY, ALL = "any", "all"
COMBINE = (ANY, ALL)
AT_ONCE = 8  # pictures that a checker is given; between them its user may cancel

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Detection:
    """One unsafe thing in a picture: score 0-1 on the common scale, box (x0, y0, x1, y1) in pixels, x1 and y1 exclusive."""

    label: str
    score: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class SafetyResult:
    """What a checker says of one picture.

    score         0-1 on the common scale: the highest unsafe score; 0 when nothing unsafe was found.
    detections    the unsafe things found, if the checker can tell where they are.
    class_scores  0-1: the highest score of each class that the checker reports, safe ones included, as its model gave it.
    checkers      score of each checker, where several judged.

    Raises NoVerdictError when a score is NaN or outside 0-1.
    """

    score: float
    detections: Sequence[Detection] = ()
    class_scores: dict[str, float] = field(default_factory=dict)
    checkers: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scores = [self.score, *(d.score for d in self.detections), *self.class_scores.values(), *self.checkers.values()]
        if not all(0 <= s <= 1 for s in scores):  # NaN compares false
            raise NoVerdictError(f"The safety checker gave a score outside 0-1: {scores}. No picture was let through.")


class SafetyChecker(Protocol):
    """`check` takes RGB pictures [B, H, W, 3] (float, 0-1) and returns one result for each, in order.

    Checkers keep nothing of what they saw, so that one may serve several graphs at once.
    """

    name: str

    def check(self, images: Tensor) -> list[SafetyResult]: ...


def on_scale(score: "float | Floats", limit: "float | Floats") -> Floats:
    """Scores (0-1, number or array) on the common scale: 0 stays 0, `limit` becomes DEFAULT_THRESHOLD, 1 stays 1, and
    straight lines lie between. So a threshold of DEFAULT_THRESHOLD means the checker's own limits."""
    below = score * (DEFAULT_THRESHOLD / limit)
    above = DEFAULT_THRESHOLD + (score - limit) * ((1 - DEFAULT_THRESHOLD) / (1 - limit))
    return np.where(score < limit, below, np.minimum(above, 1.0))  # NaN stays NaN


def is_flagged(result: SafetyResult, threshold: float) -> bool:
    """Whether the score reaches the threshold; so threshold 0 flags every picture."""
    return not result.score < threshold  # a NaN from a careless checker flags too


def judge(checker: SafetyChecker, images: Tensor, watch: Watch = unwatched) -> list[SafetyResult]:
    """One result for each of the RGB pictures [B, H, W, 3]. Raises NoVerdictError when the checker gives more or fewer."""
    results: list[SafetyResult] = []
    for batch in batches(images, AT_ONCE):
        watch(len(results), len(images))
        results += checker.check(batch)
    watch(len(images), len(images))
    if len(results) != len(images):
        raise NoVerdictError(f"The safety checker judged {len(results)} of {len(images)} pictures. None was let through.")
    return results


class CombinedChecker:
    """Several checkers as one: a picture is unsafe when `any` or when `all` of them say so.

    An error in any checker is an error, in both cases. Raises FaceGenError without checkers or on another `when`.
    """

    def __init__(self, checkers: Sequence[SafetyChecker], when: str = ANY):
        if when not in COMBINE:
            raise FaceGenError(f"Unknown way to combine safety checkers {when!r}. Choose one of: {', '.join(COMBINE)}.")
        if not checkers:
            raise FaceGenError("Combining safety checkers needs at least one of them.")
        self.checkers, self.when = list(checkers), when
        self.name = f"{when} of: {', '.join(checker.name for checker in checkers)}"

    def check(self, images: Tensor) -> list[SafetyResult]:
        judged = [judge(checker, images) for checker in self.checkers]
        height, width = images.shape[1:3]
        return [self._merge(results, (0, 0, width, height)) for results in zip(*judged, strict=True)]

    def _merge(self, results: Sequence[SafetyResult], whole: tuple[int, int, int, int]) -> SafetyResult:
        names = [checker.name for checker in self.checkers]
        labels = names if len(set(names)) == len(names) else [f"{name} {n}" for n, name in enumerate(names, 1)]
        class_scores: dict[str, float] = {}
        checkers: dict[str, float] = {}
        detections: list[Detection] = []
        for label, result in zip(labels, results, strict=True):
            checkers[label] = result.score
            class_scores |= {f"{label}/{name}": score for name, score in result.class_scores.items()}
            detections += result.detections
            located = max((d.score for d in result.detections), default=0.0)
            # What one of several alarms can't locate may be anywhere. Where all have to agree, the one that can decides.
            if self.when == ANY and result.score > located:
                detections.append(Detection(label, result.score, whole))
        score = (max if self.when == ANY else min)(result.score for result in results)
        return SafetyResult(score, detections, class_scores, checkers)


def report(results: Sequence[SafetyResult], threshold: float, checker_name: str) -> dict[str, Any]:
    """What was found, as plain JSON values: scores, classes and boxes of each picture, never pixels."""
    return {
        "checker": checker_name,
        "threshold": float(threshold),
        "pictures": [_picture(result, threshold) for result in results],
    }


def _picture(result: SafetyResult, threshold: float) -> dict[str, Any]:
    picture: dict[str, Any] = {
        "flagged": is_flagged(result, threshold),
        "score": float(result.score),
        "class_scores": {label: float(score) for label, score in result.class_scores.items()},
        "detections": [{"label": d.label, "score": float(d.score), "box": [int(v) for v in d.box]} for d in result.detections],
    }
    if result.checkers:
        picture["checkers"] = {name: float(score) for name, score in result.checkers.items()}
    return picture
