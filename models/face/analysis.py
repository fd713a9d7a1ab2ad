"""Photo to faces: InsightFace's detector and recogniser, and the aligned crops that CLIP vision wants.

InsightFace reads BGR bytes (to_bgr), CLIP reads RGB: what enters is BGR uint8 [H, W, 3], the crops that leave are RGB floats.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import FaceGenError, NoFaceError
from .. import onnx_providers
from .cache import Cache, PixelKey, pixel_key
from .packs.find import open_pack
from .packs.session import require_insightface, shared_session
from .tries import TRIES, Try, put_before_detector

CROP_SIZE = 224  # pixels; what CLIP vision reads
SELECT = ("largest", "most central", "leftmost", "rightmost", "topmost", "by index", "all")
CACHED = 512  # results of detection and recognition; about 2 KB each
SAME_FACE = 0.3  # shared share of two boxes (intersection over union) from which they are of one face
SIDE_LIMIT = 30_000  # pixels; OpenCV aligns no face in a picture with a side of 32767 or more

memory = Cache(CACHED)  # what was found and recognised in the pictures seen last, by every face analysis


@dataclass(frozen=True)
class Face:
    """One detected face. bbox float32 [4] (x0, y0, x1, y1) and kps float32 [5, 2] in pixels, confidence 0-1; turn: as in Try,
    how the picture was turned when the face was seen as it is here."""

    bbox: np.ndarray
    kps: np.ndarray
    confidence: float
    turn: int = 0

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        return float((self.bbox[2] - self.bbox[0]) * (self.bbox[3] - self.bbox[1]))

    @property
    def centre(self) -> np.ndarray:
        """Of the box, x and y in pixels."""
        middle: np.ndarray = (self.bbox[:2] + self.bbox[2:]) / 2
        return middle

    @property
    def lies(self) -> int:
        """Quarters of a turn to the left that bring the head nearest to upright, from eyes and corners of the mouth."""
        x, y = (self.kps[3:] - self.kps[:2]).mean(axis=0).tolist()
        return round(math.degrees(math.atan2(-x, y)) / 90) % 4

    @property
    def usable(self) -> bool:
        """Whether it can be aligned: finite, and neither box nor eyes in one spot."""
        finite = np.isfinite(self.bbox).all() and np.isfinite(self.kps).all()
        return bool(finite and self.area > 0 and np.linalg.norm(self.kps[0] - self.kps[1]) > 0)

    def metadata(self, face_analysis: "FaceAnalysis", size: tuple[int, int]) -> dict[str, Any]:
        """The face as plain values, for FaceEmbeds.faces. size: of its photo, width and height in pixels."""
        return {
            "bbox": self.bbox.tolist(),
            "kps": self.kps.tolist(),
            "size": list(size),
            "confidence": self.confidence,
            "model_pack": face_analysis.pack.name,
            "recogniser": face_analysis.recogniser,
        }


@dataclass(frozen=True)
class Found:
    """faces: most confident first; tries: what was looked at, the last of which found them, if any did.

    picture is the picture's key (cache.pixel_key), which embed() would compute again.
    """

    faces: tuple[Face, ...]
    tries: tuple[Try, ...]
    picture: PixelKey


class FaceAnalysis:
    """The detector and recogniser of one model pack, running.

    pack            folder with the pack's ONNX files, or one that holds such a folder; then the one that holds them.
    provider        a label of onnx_providers.PROVIDERS, or "auto".
    min_confidence  detections below this (0-1) are ignored.
    recogniser      name of the recogniser, such as "w600k_r50": numbers of two recognisers can't be compared.
    session         the two models in ONNX Runtime, shared by every face analysis of this pack and provider.

    What was found and recognised in the pictures seen last is remembered by their pixels (`memory`). Raises
    BrokenModelPackError when the folder has no usable detector and recogniser, MissingLibraryError without InsightFace.
    """

    def __init__(self, pack: Path, provider: str = "auto", min_confidence: float = 0.5):
        require_insightface()
        files = open_pack(pack)
        self.pack, self.recogniser = files.folder, files.recogniser_name
        self.min_confidence = min_confidence
        self.session = shared_session(files, onnx_providers.resolve(provider))

    @property
    def detector_sizes(self) -> list[tuple[int, int]]:
        """Sizes (width, height) at which the detector looks at a picture first."""
        return self._sizes(TRIES[0])

    def detect(self, bgr: np.ndarray) -> list[Face]:
        """Faces of one picture (see to_bgr), in InsightFace's order: most confident first."""
        return list(self.find(bgr).faces)

    def find(self, bgr: np.ndarray) -> Found:
        """Faces of one picture and what it took to find them: InsightFace's own way, then the other TRIES."""
        picture = pixel_key(bgr)
        key = ("find", self.session.key, self.min_confidence, picture)
        return memory.get(key, lambda: self._find(bgr, picture))

    def _find(self, bgr: np.ndarray, picture: PixelKey) -> Found:
        done: list[Try] = []
        for attempt in TRIES:
            attempt = replace(attempt, sizes=tuple(self._sizes(attempt)))
            if attempt in done:
                continue
            done.append(attempt)
            if faces := self._look(bgr, attempt):
                return Found(self._upright(bgr, faces, attempt), tuple(done), picture)
        return Found((), tuple(done), picture)

    def _sizes(self, attempt: Try) -> list[tuple[int, int]]:
        return [self.session.fixed_size] if self.session.fixed_size else list(attempt.sizes)

    def _look(self, bgr: np.ndarray, attempt: Try) -> tuple[Face, ...]:
        shown, back = put_before_detector(bgr, attempt)
        boxes, points = self.session.detect(shown, list(attempt.sizes), self.min_confidence)
        faces = []
        for box, kps in zip(boxes, back(points), strict=True):
            corners = back(box[:4].reshape(2, 2))
            bbox = np.concatenate([corners.min(axis=0), corners.max(axis=0)]) if attempt.turn else corners.reshape(4)
            faces.append(Face(bbox, kps, float(box[4]), attempt.turn))
        return tuple(face for face in faces if face.usable)

    def _upright(self, bgr: np.ndarray, faces: tuple[Face, ...], attempt: Try) -> tuple[Face, ...]:
        """The faces, of which those that lie are as they are seen with the picture turned, if they are seen better there."""
        turns = sorted({face.lies for face in faces} - {attempt.turn})
        turned = {turn: self._look(bgr, replace(attempt, turn=turn)) for turn in turns}
        return tuple(_better(face, turned.get(face.lies, ())) for face in faces)

    def embed(self, bgr: np.ndarray, faces: Sequence[Face], picture: PixelKey | None = None) -> Tensor:
        """Identity of each face as the recogniser gives it, float32 [n, 512]. picture: Found.picture, if it is at hand."""
        picture = picture or pixel_key(bgr)
        return torch.stack([self._identity(bgr, face, picture) for face in faces])

    def _identity(self, bgr: np.ndarray, face: Face, picture: PixelKey) -> Tensor:
        key = ("embed", self.session.key, face.kps.tobytes(), picture)
        identity = memory.get(key, lambda: self.session.embed(*around(bgr, face.kps)))
        return torch.from_numpy(identity.astype(np.float32))  # a copy: the cached one stays as it is

    def no_face(self, height: int, width: int) -> NoFaceError:
        """The error about a picture of that size in pixels in which no face was found; as text, also for reports."""
        return NoFaceError(
            f"No face found in the {width}x{height} picture. A photo with one clear face and some room around it, down to the "
            "shoulders, is needed.",
            f"(Detector sizes tried: {self.tries_in_words()}; min_confidence {self.min_confidence:g}.)",
        )

    def tries_in_words(self) -> str:
        """The ways to look that are tried before a picture counts as one without a face."""
        tries = dict.fromkeys(str(replace(attempt, sizes=tuple(self._sizes(attempt)))) for attempt in TRIES)
        return "; ".join(tries)


def _better(face: Face, seen: Iterable[Face]) -> Face:
    """The same face as it is seen in the picture turned, if it is upright there and seen at least as well; else this one."""
    for other in seen:
        if _shared(face, other) >= SAME_FACE and other.lies == other.turn and other.confidence >= face.confidence:
            return other
    return face


def _shared(a: Face, b: Face) -> float:
    size = np.minimum(a.bbox[2:], b.bbox[2:]) - np.maximum(a.bbox[:2], b.bbox[:2])
    both = float(size.clip(0).prod())
    return both / (a.area + b.area - both)


def around(bgr: np.ndarray, kps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture and points [5, 2] in it; of a picture that is longer than OpenCV can align, the part around the points."""
    if max(bgr.shape[:2]) <= SIDE_LIMIT:
        return bgr, kps
    centre = kps.mean(axis=0)
    x, y = (max(0, int(at) - SIDE_LIMIT // 2) for at in centre.tolist())
    return bgr[y : y + SIDE_LIMIT, x : x + SIDE_LIMIT], kps - np.array([x, y], kps.dtype)


def to_bgr(picture: Tensor) -> np.ndarray:
    """RGB float tensor [H, W, 3] (0-1) to a BGR uint8 array. Rounds, so that an 8-bit photo comes back exactly."""
    import cv2

    rgb = picture.detach().float().cpu()
    low, high = torch.aminmax(rgb)
    if low < 0 or high > 1:
        rgb = rgb.clamp(0, 1)
    # OpenCV's conversion rounds as torch.round does, in a tenth of the time.
    bgr: np.ndarray = cv2.cvtColor(cv2.convertScaleAbs(np.ascontiguousarray(rgb.numpy()), alpha=255.0), cv2.COLOR_RGB2BGR)
    return bgr


def aligned_crop(bgr: np.ndarray, face: Face, size: int = CROP_SIZE) -> Tensor:
    """The face turned upright by InsightFace's norm_crop: RGB float32 [size, size, 3] (0-1)."""
    from insightface.utils import face_align

    part, kps = around(bgr, face.kps)
    crop = face_align.norm_crop(part, landmark=kps, image_size=size)
    return torch.from_numpy(np.ascontiguousarray(crop[:, :, ::-1])).float() / 255.0


def from_left(faces: Iterable[Face]) -> list[Face]:
    """In the order of their centres: the order that `by index` and the annotated photo count in."""
    return sorted(faces, key=lambda face: float(face.centre[0]))


def select_faces(faces: Sequence[Face], how: str, height: int, width: int, index: int = 0) -> list[Face]:
    """The faces that `how` (one of SELECT) names; ties keep the detector's order.

    Raises FaceGenError when `by index` asks for a face that isn't there. Indices count from the left.
    """
    if how not in SELECT:
        raise FaceGenError(f"Unknown face selection {how!r}. Choose one of: {', '.join(SELECT)}.")
    by_left = from_left(faces)
    if how == "all":
        return by_left
    if how == "by index":
        if not 0 <= index < len(by_left):
            raise FaceGenError(f"face_index {index} was asked for, but {len(faces)} face(s) were found (0 is the leftmost).")
        return [by_left[index]]
    middle = np.array([width, height]) / 2
    keys: dict[str, Callable[[Face], float]] = {
        "largest": lambda f: -f.area,
        "most central": lambda f: float(np.linalg.norm(f.centre - middle)),
        "leftmost": lambda f: float(f.centre[0]),
        "rightmost": lambda f: -float(f.centre[0]),
        "topmost": lambda f: float(f.centre[1]),
    }
    return [min(faces, key=keys[how])]
