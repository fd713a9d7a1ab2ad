"""Photo to faces: InsightFace's detector and recogniser, and the aligned crops that CLIP vision wants.

InsightFace reads BGR bytes (to_bgr), CLIP reads RGB: what enters is BGR uint8 [H, W, 3], the crops that leave are RGB floats.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import onnx_providers
from .errors import FaceGenError

CROP_SIZE = 224  # pixels; what CLIP vision reads
SELECT = ("largest", "most central", "leftmost", "rightmost", "topmost", "by index", "all")


@dataclass(frozen=True)
class Face:
    """One detected face. bbox float32 [4] (x0, y0, x1, y1) and kps float32 [5, 2] in pixels, confidence 0-1."""

    bbox: np.ndarray
    kps: np.ndarray
    confidence: float

    @property
    def area(self) -> float:
        return float((self.bbox[2] - self.bbox[0]) * (self.bbox[3] - self.bbox[1]))

    @property
    def centre(self) -> np.ndarray:
        return (self.bbox[:2] + self.bbox[2:]) / 2

    def metadata(self, model_pack: str) -> dict:
        """The face as plain values, for FaceEmbeds.faces."""
        return {
            "bbox": self.bbox.tolist(),
            "kps": self.kps.tolist(),
            "confidence": self.confidence,
            "model_pack": model_pack,
        }


def find_packs(folders: list[str]) -> dict[str, Path]:
    """Name -> folder of every InsightFace model pack in `<folder>/models`.

    A pack is a folder with at least two ONNX files, or one that holds nothing but such a folder: antelopev2's archive
    unpacks as antelopev2/antelopev2.
    """
    packs = {}
    for folder in folders:
        root = Path(folder, "models")
        for entry in sorted(root.iterdir()) if root.is_dir() else ():
            nested = [sub for sub in sorted(entry.iterdir()) if sub.is_dir()] if entry.is_dir() else []
            for candidate in (entry, *nested):
                if len(list(candidate.glob("*.onnx"))) >= 2:
                    packs.setdefault(entry.name, candidate)
                    break
    return packs


class FaceAnalyzer:
    """InsightFace's FaceAnalysis over one model pack, detection and recognition only.

    pack      folder with the pack's ONNX files.
    provider  a label of onnx_providers.PROVIDERS, or "auto".
    min_confidence  detections below this (0-1) are ignored.

    Raises FaceGenError when the folder has no usable detector and recogniser.
    """

    def __init__(self, pack: Path, provider: str = "auto", min_confidence: float = 0.5):
        self.pack = Path(pack)
        self.min_confidence = min_confidence
        require_insightface()
        if not self.pack.is_dir():  # InsightFace would try to download it
            raise FaceGenError(f"The InsightFace model pack {self.pack} is not there (any more).")
        self._app = self._load(onnx_providers.resolve(provider))

    def _load(self, providers: list[str]):
        from insightface.app import FaceAnalysis

        files = sorted(f.name for f in self.pack.glob("*.onnx"))
        found = f"{self.pack} holds: {', '.join(files) or 'no ONNX file'}."
        try:
            app = FaceAnalysis(name=str(self.pack), allowed_modules=["detection", "recognition"], providers=providers)
        except Exception as error:  # onnxruntime, protobuf and InsightFace's own asserts have no common type
            raise FaceGenError(
                f"The InsightFace model pack could not be loaded ({type(error).__name__}: {error}). {found} "
                "Download the pack again; it needs a detector (such as det_10g.onnx) and a recogniser (w600k_r50.onnx)."
            ) from error
        if "recognition" not in app.models:
            raise FaceGenError(f"No recogniser in this InsightFace model pack. {found} It needs one such as w600k_r50.onnx.")
        app.prepare(ctx_id=0, det_thresh=self.min_confidence)
        return app

    @property
    def detector_sizes(self) -> list[tuple[int, int]]:
        """Sizes (width, height) at which the detector looks at a picture."""
        return [tuple(size) for size in self._app.det_size]

    def detect(self, bgr: np.ndarray) -> list[Face]:
        """Faces of one picture (see to_bgr), in InsightFace's order: most confident first."""
        boxes, kps = self._app.det_model.detect(bgr, max_num=0, metric="default")
        if len(boxes) and kps is None:
            raise FaceGenError(f"The detector in {self.pack} gives no key points; use a pack with an SCRFD detector.")
        return [Face(box[:4], points, float(box[4])) for box, points in zip(boxes, kps if len(boxes) else (), strict=True)]

    def embed(self, bgr: np.ndarray, faces: list[Face]) -> Tensor:
        """Identity of each face as the recogniser gives it, float32 [n, 512]."""
        from insightface.app.common import Face as InsightFace

        recogniser = self._app.models["recognition"]
        return torch.stack([torch.from_numpy(recogniser.get(bgr, InsightFace(bbox=f.bbox, kps=f.kps))) for f in faces])

    def no_face_message(self, height: int, width: int) -> str:
        sizes = " and ".join(f"{w}x{h}" for w, h in self.detector_sizes)
        return (
            f"No face found in the {width}x{height} picture (detector sizes tried: {sizes}; min_confidence "
            f"{self.min_confidence:g}). Use a photo with one clear face and some room around it, down to the shoulders, "
            "or lower min_confidence on the Load Face Analyzer node."
        )


def require_insightface() -> None:
    """Raise FaceGenError, with the cure, unless InsightFace can be imported."""
    try:
        import insightface.app  # noqa: F401
    except ImportError as error:
        raise FaceGenError(
            f"InsightFace can't be imported ({error}). Install it into ComfyUI's Python: pip install \"insightface>=2.1\""
        ) from error


def to_bgr(picture: Tensor) -> np.ndarray:
    """RGB float tensor [H, W, 3] (0-1) to a BGR uint8 array. Rounds, so that an 8-bit photo comes back exactly."""
    rgb = (255.0 * picture.detach().float()).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(rgb[:, :, ::-1])


def aligned_crop(bgr: np.ndarray, face: Face, size: int = CROP_SIZE) -> Tensor:
    """The face turned upright by InsightFace's norm_crop: RGB float32 [size, size, 3] (0-1)."""
    from insightface.utils import face_align

    crop = face_align.norm_crop(bgr, landmark=face.kps, image_size=size)
    return torch.from_numpy(np.ascontiguousarray(crop[:, :, ::-1])).float() / 255.0


def from_left(faces: list[Face]) -> list[Face]:
    """In the order of their centres: the order that `by index` and the annotated photo count in."""
    return sorted(faces, key=lambda face: face.centre[0])


def select_faces(faces: list[Face], how: str, height: int, width: int, index: int = 0) -> list[Face]:
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
    key = {
        "largest": lambda f: -f.area,
        "most central": lambda f: float(np.linalg.norm(f.centre - middle)),
        "leftmost": lambda f: f.centre[0],
        "rightmost": lambda f: -f.centre[0],
        "topmost": lambda f: f.centre[1],
    }[how]
    return [min(faces, key=key)]
