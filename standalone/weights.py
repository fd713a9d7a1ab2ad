"""Which files to use, from a folder laid out like ComfyUI's models folder."""

from dataclasses import dataclass
from pathlib import Path

from ..models.errors import FaceGenError
from ..models.face_analysis import find_packs


@dataclass(frozen=True)
class Weights:
    """checkpoint: a .safetensors file or a diffusers folder; the others: a file, a file, a folder of ONNX files."""

    checkpoint: Path
    faceid: Path
    clip_vision: Path
    face_pack: Path


def find_weights(folder: Path, checkpoint: str | None = None, faceid: str | None = None) -> Weights:
    """The model files in `folder`; `checkpoint` and `faceid` name one where there are several.

    Raises FaceGenError that lists everything that is missing and where it belongs.
    """
    folder = Path(folder)
    found = {
        "checkpoint": _checkpoints(folder / "checkpoints"),
        "faceid": _files(folder / "ipadapter", ".safetensors", ".bin"),
        "clip_vision": _files(folder / "clip_vision", ".safetensors"),
        "face_pack": find_packs([str(folder / "insightface")]),
    }
    missing = [WHAT[kind] for kind, files in found.items() if not files]
    if missing:
        raise FaceGenError(f"{folder} lacks {'; '.join(missing)}. It is laid out like ComfyUI's models folder.")
    wanted = {"checkpoint": checkpoint, "faceid": faceid}
    return Weights(**{kind: _pick(kind, files, wanted.get(kind)) for kind, files in found.items()})


WHAT = {
    "checkpoint": "an SD1.5 checkpoint (checkpoints/NAME.safetensors, or a diffusers folder)",
    "faceid": "a FaceID adapter (ipadapter/ip-adapter-faceid-plusv2_sd15.bin)",
    "clip_vision": "a CLIP vision model (clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors)",
    "face_pack": "an InsightFace model pack (insightface/models/buffalo_l/*.onnx)",
}


def _checkpoints(folder: Path) -> dict[str, Path]:
    folders = {path.parent.name: path.parent for path in sorted(folder.glob("*/model_index.json"))}
    return folders | _files(folder, ".safetensors")


def _files(folder: Path, *endings: str) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.glob("*")) if path.suffix in endings}


def _pick(kind: str, files: dict[str, Path], name: str | None) -> Path:
    if name is None and (len(files) == 1 or kind not in ("checkpoint", "faceid")):
        return next(iter(files.values()))
    if name in files:
        return files[name]
    given = "several were found" if name is None else f"there is no {name!r}"
    raise FaceGenError(f"Choose a {kind} with --{kind}: {given}. There are: {', '.join(files)}.")
