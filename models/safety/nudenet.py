"""NudeNet: its detector without its package's code.

The package's wheel carries the model, and only that file is used. So the checker imports no `cv2`, of which the wheels of
InsightFace and NudeNet install two builds into one folder, and a batch is one pass. Resizing and the choice of boxes give
the numbers that the package gives.
"""

import ast
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import BrokenNudeNetError, FaceGenError, MissingNudeNetError, NoVerdictError
from .. import onnx_providers
from ..pictures import batches, require_rgb
from .checking import Detection, SafetyResult, on_scale
from .views import squares

# NudeNet also reports faces, feet, bellies, armpits, male breasts and covered parts. A portrait or a beach photo shows
# those, so by default only what nudity rules name counts: genitalia, female breasts, buttocks and anus, when exposed.
LIMITS: dict[str, dict[str, float]] = {
    "default": {
        "FEMALE_GENITALIA_EXPOSED": 0.4,
        "MALE_GENITALIA_EXPOSED": 0.4,
        "FEMALE_BREAST_EXPOSED": 0.4,
        "BUTTOCKS_EXPOSED": 0.4,
        "ANUS_EXPOSED": 0.4,
    },
    "strict": {
        "FEMALE_GENITALIA_EXPOSED": 0.25,
        "MALE_GENITALIA_EXPOSED": 0.25,
        "FEMALE_BREAST_EXPOSED": 0.25,
        "BUTTOCKS_EXPOSED": 0.25,
        "ANUS_EXPOSED": 0.25,
        "FEMALE_GENITALIA_COVERED": 0.4,
        "ANUS_COVERED": 0.4,
        "BUTTOCKS_COVERED": 0.4,
        "MALE_BREAST_EXPOSED": 0.5,
    },
    "lenient": {
        "FEMALE_GENITALIA_EXPOSED": 0.5,
        "MALE_GENITALIA_EXPOSED": 0.5,
        "FEMALE_BREAST_EXPOSED": 0.65,
        "BUTTOCKS_EXPOSED": 0.65,
        "ANUS_EXPOSED": 0.5,
    },
}
FLOOR = 0.25  # the package reports nothing from here down
OVERLAP = 0.45  # of two boxes that overlap more (intersection over union), the package keeps the likelier one
SIDE = 320  # pixels: what the model sees
BATCH = 64  # pictures in one pass, at most
STRIP = 3  # a picture longer than as many times its shorter side is also looked at in squares
NEEDED = "3.4.2 or newer"


class NudeNetChecker:
    """NudeNet's detector.

    provider  a label of onnx_providers.PROVIDERS, or "auto".
    preset    one of LIMITS.
    limits    instead of the preset's: class -> score (0.25 to below 1) from which it makes a picture unsafe.

    Raises MissingNudeNetError when NudeNet is not installed, BrokenNudeNetError when its model file is missing, damaged or
    of another version, FaceGenError on another preset, provider or limit.
    """

    def __init__(self, provider: str = "auto", preset: str = "default", limits: dict[str, float] | None = None):
        if preset not in LIMITS:
            raise FaceGenError(f"Unknown preset {preset!r} of nudenet. Choose one of: {', '.join(LIMITS)}.")
        self.name = "nudenet" if preset == "default" else f"nudenet {preset}"
        limits = LIMITS[preset] if limits is None else limits
        self._session = _load(onnx_providers.resolve(provider))
        self._input = self._session.get_inputs()[0].name
        self.labels = _labels(self._session)
        # A class that NudeNet never reports would be a class that is always let through.
        if unknown := sorted(set(limits) - set(self.labels)):
            raise BrokenNudeNetError(f"The installed NudeNet knows no class {', '.join(unknown)}. Version {NEEDED} is needed.")
        if wrong := {label: limit for label, limit in limits.items() if not FLOOR <= limit < 1}:
            raise FaceGenError(f"NudeNet's limits must be from {FLOOR} to below 1, not {wrong}.")
        self._unsafe = np.array([self.labels.index(label) for label in limits], dtype=int)
        self._limits = np.array(list(limits.values()), dtype=np.float64)

    def check(self, images: Tensor) -> list[SafetyResult]:
        """One result for each of the RGB pictures [B, H, W, 3] (float, 0-1). Raises BadPicturesError on any other
        input, and NoVerdictError when the model gives no number."""
        require_rgb(images)
        height, width = images.shape[1:3]
        results = []
        for batch in batches(images, BATCH):
            looks = [self._look(batch)]
            if max(height, width) > STRIP * min(height, width):  # of which little is left in the square
                side, places = squares(height, width)
                looks += [self._look(batch[:, y : y + side, x : x + side], y, x) for y, x in places]
            results += [_together(of_one) for of_one in zip(*looks, strict=True)]
        return results

    def _look(self, part: Tensor, top: int = 0, left: int = 0) -> list[SafetyResult]:
        """The verdicts on that part of some pictures, with boxes in the whole pictures."""
        (output,) = self._session.run(None, {self._input: model_input(part)})
        # Before any comparison: NaN >= limit would read as nothing found.
        if not np.isfinite(output).all():
            raise NoVerdictError("NudeNet's model gave NaN or infinity, so no picture was let through.")
        height, width = part.shape[1:3]
        results = [self._judge(anchors.T, height, width) for anchors in output]
        return [replace(r, detections=[_moved(d, top, left) for d in r.detections]) for r in results]

    def _judge(self, anchors: np.ndarray, height: int, width: int) -> SafetyResult:
        """The verdict on one picture from what the model says of its anchors [n, 4 + classes].

        NudeNet keeps one class of each anchor and one of overlapping boxes, so a safe class could displace an unsafe
        one. What is unsafe is therefore read without the safe classes, each unsafe class by its distance to its limit.
        """
        scores, boxes = anchors[:, 4:], rectangles(anchors, height, width)
        likeliest = scores.max(1)
        class_scores: dict[str, float] = {}
        for index in keep(likeliest, likeliest, boxes):
            _raise_to(class_scores, self.labels[scores[index].argmax()], likeliest[index])
        if not len(self._unsafe):
            return SafetyResult(0.0, (), class_scores)

        unsafe = scores[:, self._unsafe]
        relative = np.where(unsafe > FLOOR, on_scale(unsafe.astype(np.float64), self._limits), 0.0)
        detections = []
        for index in keep(unsafe.max(1), relative.max(1), boxes):
            which = relative[index].argmax()
            label, (x, y, w, h) = self.labels[self._unsafe[which]], (int(v) for v in boxes[index])
            detections.append(Detection(label, float(relative[index, which]), (x, y, x + w, y + h)))
            _raise_to(class_scores, label, unsafe[index, which])
        return SafetyResult(max((d.score for d in detections), default=0.0), detections, class_scores)


def _moved(found: Detection, top: int, left: int) -> Detection:
    x0, y0, x1, y1 = found.box
    return replace(found, box=(x0 + left, y0 + top, x1 + left, y1 + top))


def _together(looks: Sequence[SafetyResult]) -> SafetyResult:
    """One verdict from several looks at parts of a picture: the highest scores, and all that was found."""
    class_scores: dict[str, float] = {}
    for look in looks:
        for label, score in look.class_scores.items():
            _raise_to(class_scores, label, score)
    detections = [found for look in looks for found in look.detections]
    return SafetyResult(max(look.score for look in looks), detections, class_scores)


def _raise_to(scores: dict[str, float], label: str, score: float) -> None:
    scores[label] = max(float(score), scores.get(label, 0.0))


def model_input(images: Tensor) -> np.ndarray:
    """RGB pictures [B, H, W, 3] (float, 0-1) as the model's input [B, 3, 320, 320], on whatever device they are.

    As in NudeNet 3.4, which swaps the channels twice on the way to its model, the model sees BGR: its scores are known
    for that order, and on real photos neither order finds faces clearly better. The picture lies in the upper left of a
    square that is black elsewhere, and that is resized in OpenCV's fixed-point arithmetic.
    """
    return (_resized(images.movedim(-1, 1).flip(1), SIDE).float() / 255).cpu().numpy()


def _resized(pictures: Tensor, side: int) -> Tensor:
    """Pictures [B, C, H, W] (float, 0-1) in a black square as levels [B, C, side, side] (int32) by bilinear interpolation with
    weights of 11 bits, columns before rows. A float interpolation would differ in every eighth pixel, and then in the scores.

    The square itself, which for a strip would be out of all proportion, is never made: pixels beyond the picture weigh nothing.
    """
    height, width = pictures.shape[2:]
    rows, row_weights = _samples(height, max(height, width), side, pictures.device)
    columns, column_weights = _samples(width, max(height, width), side, pictures.device)
    sums = []
    for row in rows:
        left, right = (_levels(pictures, row, column).mul_(w) for column, w in zip(columns, column_weights, strict=True))
        sums.append((left + right) >> 4)
    above, below = (part.mul_(w[:, None]) >> 16 for part, w in zip(sums, row_weights, strict=True))
    return (above + below + 2) >> 2


def _samples(size: int, square: int, side: int, device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """(the two pixels that each of `side` is made from, along a side of `size` in a square, and their weights)."""
    position = ((torch.arange(side, dtype=torch.float64) + 0.5) * (square / side) - 0.5).float()
    first = position.floor()
    places = [(first.long() + n).clamp(0, square - 1) for n in (0, 1)]
    weights = [(w * 2048).round().int() for w in (1 - (position - first), position - first)]
    inside = [weight.where(place < size, 0) for weight, place in zip(weights, places, strict=True)]
    return [place.clamp(max=size - 1).to(device) for place in places], [weight.to(device) for weight in inside]


def _levels(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of these rows and columns, in 8 bits."""
    by_side = sorted(((2, rows), (3, columns)), key=lambda pick: -pictures.shape[pick[0]])
    for dim, places in by_side:  # the longer side first: little is left of it
        pictures = pictures.index_select(dim, places)
    return pictures.float().mul(255).round_().clamp_(0, 255).int()


def rectangles(anchors: np.ndarray, height: int, width: int) -> np.ndarray:
    """The boxes of anchors [n, 4 + classes] in pixels of a picture, cut off at its edges: x, y, width, height [n, 4]."""
    x, y, w, h = (anchors[:, i] for i in range(4))
    x, y, w, h = (v * np.float32(max(height, width)) / np.float32(SIDE) for v in (x - w / 2, y - h / 2, w, h))
    x, y = x.clip(0, width), y.clip(0, height)
    return np.stack([x, y, np.minimum(w, width - x), np.minimum(h, height - y)], axis=1)


def keep(scores: np.ndarray, order: np.ndarray, boxes: np.ndarray) -> list[int]:
    """Which of the boxes [n, 4] (x, y, width, height) to report: those above FLOOR in `scores` [n] that no overlapping
    one with a higher `order` [n] displaces, highest first."""
    candidates = np.flatnonzero(scores > FLOOR)
    candidates = candidates[np.argsort(-order[candidates], kind="stable")]
    size = boxes[candidates, 2:].astype(np.float64)
    low = boxes[candidates, :2].astype(np.float64)
    high, area = low + size, size.prod(1)
    kept: list[int] = []
    for i in range(len(candidates)):
        shared = (np.minimum(high[i], high[kept]) - np.maximum(low[i], low[kept])).clip(0).prod(1)
        if (shared <= OVERLAP * (area[i] + area[kept] - shared)).all():
            kept.append(i)
    return [int(candidates[i]) for i in kept]


def _load(providers: list[str]) -> Any:
    """An ONNX Runtime session of the model in NudeNet's wheel."""
    spec = importlib.util.find_spec("nudenet")
    if spec is None or not spec.submodule_search_locations:
        raise MissingNudeNetError(
            "The safety checker needs NudeNet's model, but NudeNet is not installed. It comes with the Python library nudenet, "
            f"{NEEDED}."
        )
    import onnxruntime

    path = Path(next(iter(spec.submodule_search_locations))) / "320n.onnx"
    if not path.is_file():
        raise BrokenNudeNetError(f"NudeNet's model file is missing: {path}.")
    try:
        return onnxruntime.InferenceSession(str(path), onnx_providers.session_options(), providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common type
        raise BrokenNudeNetError(
            f"NudeNet's model file {path} could not be loaded on {providers[0]} ({type(error).__name__}: {error})."
        ) from error


def _labels(session: Any) -> list[str]:
    """The classes in the order of the model's output, which its file names."""
    try:
        names = ast.literal_eval(session.get_modelmeta().custom_metadata_map["names"])
        labels = [names[i] for i in range(len(names))]
    except (KeyError, ValueError, SyntaxError, TypeError) as error:
        raise BrokenNudeNetError(f"NudeNet's model file does not name its classes. Version {NEEDED} is needed.") from error
    if session.get_outputs()[0].shape[1] != 4 + len(labels):
        raise BrokenNudeNetError(f"NudeNet's model file names {len(labels)} classes, which does not fit its output.")
    return labels
