"""Checkers: pictures in, unsafe scores out.

A checker that can't judge a picture raises: "no score" must never read as "safe".
"""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from . import onnx_providers
from .errors import FaceGenError
from .pictures import require_rgb

# NudeNet also reports faces, feet, bellies, armpits, male breasts and covered parts. A portrait or a beach photo shows
# those, so only what nudity rules name counts: genitalia, female breasts, buttocks and anus, and only when exposed.
UNSAFE_CLASSES = (
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "ANUS_EXPOSED",
)
# NudeNet gives exposed parts 0.6-0.8 in its own example, and portraits below 0.02. The middle, on the cautious side.
DEFAULT_THRESHOLD = 0.4

_INSTALL = "Run `pip install -U nudenet` with the Python that runs this, then restart."


@dataclass(frozen=True)
class Detection:
    """One unsafe thing in a picture: score 0-1, box (x0, y0, x1, y1) in pixels, x1 and y1 exclusive."""

    label: str
    score: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class SafetyResult:
    """What a checker says of one picture.

    score         the highest unsafe score, 0-1; 0 when nothing unsafe was found.
    detections    the unsafe things found, if the checker can tell where they are.
    class_scores  highest score of each class that the checker reports, safe classes included.

    Raises FaceGenError when a score is NaN or outside 0-1.
    """

    score: float
    detections: Sequence[Detection] = ()
    class_scores: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        scores = [self.score, *(d.score for d in self.detections), *self.class_scores.values()]
        if not all(0 <= s <= 1 for s in scores):  # NaN compares false
            raise FaceGenError(f"The safety checker gave a score outside 0-1: {scores}. No picture was let through.")


class SafetyChecker(Protocol):
    """`check` takes RGB pictures [B, H, W, 3] (float, 0-1) and returns one result for each, in order."""

    name: str

    def check(self, images: Tensor) -> list[SafetyResult]: ...


class NudeNetChecker:
    """NudeNet's own detector, with the model that its wheel carries.

    provider        a label of onnx_providers.PROVIDERS, or "auto".
    unsafe_classes  the NudeNet classes that make a picture unsafe.

    NudeNet reports nothing below a score of 0.25, so lower thresholds find no more.
    Raises FaceGenError when NudeNet is not installed, knows no such class, or its model file is missing or broken.
    """

    name = "nudenet"

    def __init__(self, provider: str = "auto", unsafe_classes: Iterable[str] = UNSAFE_CLASSES):
        module = _import_nudenet()
        self.unsafe_classes = frozenset(unsafe_classes)
        labels = getattr(module, "__labels", ())
        # A class that NudeNet never reports would be a class that is always let through.
        unknown = sorted(self.unsafe_classes - set(labels))
        if unknown:
            raise FaceGenError(f"The installed NudeNet knows no class {', '.join(unknown)}. {_INSTALL}")
        # Factors for the channels of the model's output [1, 4 + classes, anchors]: the box, then a score of each class.
        self._unsafe_only = np.float32([1] * 4 + [label in self.unsafe_classes for label in labels])[:, None]
        self._detector = _load_detector(module, onnx_providers.resolve(provider))

    def check(self, images: Tensor) -> list[SafetyResult]:
        """One result for each of the RGB pictures [B, H, W, 3] (float, 0-1). Raises FaceGenError on any other input."""
        require_rgb(images, "The safety checker")
        return [self._judge(picture) for picture in images]

    def _judge(self, picture: Tensor) -> SafetyResult:
        """NudeNet keeps one class of each anchor and one of overlapping boxes, so a safe class could displace an unsafe
        one. What is unsafe is therefore read from the model's output without the safe classes."""
        bgr = _to_bgr(picture)
        detector = copy(self._detector)
        detector.onnx_session = run = _SingleRun(self._detector.onnx_session)
        found = detector.detect(bgr)
        run.outputs = [output * self._unsafe_only for output in run.outputs]
        unsafe = detector.detect(bgr)

        class_scores: dict[str, float] = {}
        for item in found + unsafe:
            class_scores[item["class"]] = max(item["score"], class_scores.get(item["class"], 0.0))
        detections = [_detection(item) for item in unsafe]
        return SafetyResult(max((d.score for d in detections), default=0.0), detections, class_scores)


_CHECKERS = {NudeNetChecker.name: NudeNetChecker}
CHECKERS = list(_CHECKERS)


def load_checker(name: str, provider: str = "auto") -> SafetyChecker:
    """The checker `name` (one of `CHECKERS`) on an ONNX Runtime provider. Raises FaceGenError when it can't run."""
    if name not in _CHECKERS:
        raise FaceGenError(f"Unknown safety checker {name!r}. Choose one of: {', '.join(CHECKERS)}.")
    return _CHECKERS[name](provider)


def report(results: Sequence[SafetyResult], threshold: float, checker_name: str) -> dict:
    """What was found, as plain JSON values: scores, classes and boxes of each picture, never pixels."""
    pictures = [
        {
            "flagged": is_flagged(result, threshold),
            "score": float(result.score),
            "class_scores": {label: float(score) for label, score in result.class_scores.items()},
            "detections": [
                {"label": d.label, "score": float(d.score), "box": [int(v) for v in d.box]} for d in result.detections
            ],
        }
        for result in results
    ]
    return {"checker": checker_name, "threshold": float(threshold), "pictures": pictures}


def is_flagged(result: SafetyResult, threshold: float) -> bool:
    """Whether the score reaches the threshold; so threshold 0 flags every picture."""
    return not result.score < threshold  # a NaN from a careless checker flags too


def _import_nudenet():
    try:
        from nudenet import nudenet
    except ImportError as error:
        raise FaceGenError(f"The safety checker needs NudeNet, but importing it fails: {error}. {_INSTALL}") from error
    return nudenet


def _load_detector(module, providers: list[str]):
    """NudeNet's detector on `providers`. Its constructor takes providers but ignores them, hence the second session."""
    import onnxruntime

    path = Path(module.__file__).with_name("320n.onnx")
    if not path.is_file():
        raise FaceGenError(f"NudeNet's model file is missing: {path}. Run `pip install --force-reinstall nudenet`.")
    try:
        detector = module.NudeDetector(model_path=str(path))
        session = onnxruntime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common type
        raise FaceGenError(
            f"NudeNet's model file {path} could not be loaded ({type(error).__name__}: {error}). "
            "Run `pip install --force-reinstall nudenet`, or choose provider CPU."
        ) from error
    detector.onnx_session = _FiniteSession(session)
    return detector


class _FiniteSession:
    """An ONNX session that refuses NaN and infinity: NudeNet's `score >= 0.2` would read NaN as nothing found."""

    def __init__(self, session):
        self._session = session

    def run(self, names, feeds):
        outputs = self._session.run(names, feeds)
        if not all(np.isfinite(output).all() for output in outputs):
            raise FaceGenError("NudeNet's model gave NaN or infinity, so no picture was let through. Use provider CPU.")
        return outputs


class _SingleRun:
    """An ONNX session that runs its model once and then gives `outputs` again, whatever it is fed."""

    def __init__(self, session):
        self._session = session
        self.outputs = None

    def run(self, names, feeds):
        if self.outputs is None:
            self.outputs = self._session.run(names, feeds)
        return self.outputs


def _to_bgr(picture: Tensor) -> np.ndarray:
    """RGB [H, W, 3] (0-1) as the BGR uint8 array that NudeNet itself would read from a file of this picture.

    NudeNet 3.4 swaps the channels twice on the way to its model, which so sees BGR. That is kept: its scores are known
    for that order, and on real photos neither order finds faces clearly better.
    """
    levels = (picture.float() * 255).round().clamp(0, 255).byte()
    return levels.flip(-1).cpu().numpy()


def _detection(item: dict) -> Detection:
    x, y, width, height = item["box"]
    return Detection(item["class"], item["score"], (x, y, x + width, y + height))
