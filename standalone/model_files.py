"""Which files to use, from a folder laid out like ComfyUI's models folder."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import FaceGenError, WrongBaseModelError
from ..models.checkpoint_kind import CheckpointKind, kind_of
from ..models.face.packs.find import find_packs
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.safetensors_header import clip_width

WHAT = {
    "checkpoint": "an SD1.5 or SDXL checkpoint (checkpoints/NAME.safetensors, or a diffusers folder)",
    "faceid": "a FaceID adapter (ipadapter/ip-adapter-faceid-plusv2_sd15.bin)",
    "clip_vision": "a CLIP vision model (clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors)",
    "face_pack": "an InsightFace model pack (insightface/models/buffalo_l/*.onnx)",
}
# Taken without asking where there are several.
PREFERRED = {"clip_vision": "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "face_pack": "buffalo_l"}
T = TypeVar("T")


class MissingFiles(FaceGenError):
    """The folder lacks some kinds of file altogether; `kinds` are their names in WHAT."""

    def __init__(self, message: str, kinds: list[str]):
        super().__init__(message)
        self.kinds = kinds


@dataclass(frozen=True)
class ModelFiles:
    """checkpoint: a .safetensors file or a diffusers folder; the others: a file, a file, a folder of ONNX files."""

    checkpoint: Path
    faceid: Path
    clip_vision: Path
    face_pack: Path


def find_model_files(
    folder: Path,
    checkpoint: str | None = None,
    faceid: str | None = None,
    clip_vision: str | None = None,
    face_pack: str | None = None,
) -> ModelFiles:
    """The model files in `folder`; the names choose where there are several.

    Raises MissingFiles, which lists everything that is missing and where it belongs, or FaceGenError.
    """
    folder = Path(folder)
    found = {
        "checkpoint": _checkpoints(folder / "checkpoints"),
        "faceid": _files(folder / "ipadapter", ".safetensors", ".bin"),
        "clip_vision": _files(folder / "clip_vision", ".safetensors"),
        "face_pack": find_packs([str(folder / "insightface")]),
    }
    missing = [kind for kind, files in found.items() if not files]
    if missing:
        lacks = "; ".join(WHAT[kind] for kind in missing)
        raise MissingFiles(f"{folder} lacks {lacks}. It is laid out like ComfyUI's models folder.", missing)
    kind = kind_of(_pick("checkpoint", found["checkpoint"], checkpoint))
    kind.require_supported()
    adapter = _adapter(found["faceid"], faceid, kind)
    return ModelFiles(
        kind.path,
        adapter.file.path,
        _clip_vision(found["clip_vision"], clip_vision, adapter),
        _pick("face_pack", found["face_pack"], face_pack),
    )


def _files(folder: Path, *endings: str) -> dict[str, Path]:
    """Path relative to `folder` -> file, in all subfolders; links are followed, as ComfyUI does."""
    paths = (Path(root, name) for root, _, names in os.walk(folder, followlinks=True) for name in names)
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths) if path.name.lower().endswith(endings)}


def _checkpoints(folder: Path) -> dict[str, Path]:
    folders = {path.parent for path in _files(folder, "model_index.json").values()} - {folder}
    files = _files(folder, ".safetensors")
    single = {name: path for name, path in files.items() if folders.isdisjoint(path.parents)}
    return {path.relative_to(folder).as_posix(): path for path in sorted(folders)} | single


def _adapter(files: dict[str, Path], name: str | None, kind: CheckpointKind) -> FaceIDAdapter:
    """That for the checkpoint. IP-Adapters of other kinds lie in the same folder; they are left out unless named."""
    adapters, refused = {}, []
    for name_, path in (files if name is None else {name: _pick("faceid", files, name)}).items():
        try:
            adapters[name_] = FaceIDAdapter(path)
        except FaceGenError as error:
            if name is not None:
                raise
            refused.append(str(error))
    if not adapters:
        raise FaceGenError(f"There is no FaceID adapter among {', '.join(files)}. {' '.join(refused)}")
    fitting = {name_: adapter for name_, adapter in adapters.items() if _fits(adapter, kind)}
    if not fitting:
        has = ", ".join(
            f"{name_} is {adapter.variant.name}, made for {adapter.variant.base} ({_in_numbers(adapter.blocks, adapter.variant.context_dim)})"
            for name_, adapter in adapters.items()
        )
        raise WrongBaseModelError(
            f"The checkpoint {kind.path.name} is {kind.base} ({_in_numbers(kind.blocks, kind.context_dim)}), and {has}."
        )
    return _pick("faceid", fitting, None)


def _fits(adapter: FaceIDAdapter, kind: CheckpointKind) -> bool:
    """Whether checkpoint and adapter are of one base, as far as that can be told before they are loaded."""
    return kind.context_dim in (None, adapter.variant.context_dim) and kind.blocks in (None, adapter.blocks)


def _in_numbers(blocks: int | None, context_dim: int | None) -> str:
    return f"{blocks} cross-attention blocks, context width {context_dim}"


def _clip_vision(files: dict[str, Path], name: str | None, adapter: FaceIDAdapter) -> Path:
    """The model of the width that the adapter reads; any, if it reads none."""
    chosen = files if name is None else {name: _pick("clip_vision", files, name)}
    widths = {key: clip_width(path) for key, path in chosen.items()}
    needed = adapter.variant.clip_dim
    fitting = {key: chosen[key] for key, width in widths.items() if width and needed in (None, width)}
    if not fitting:
        seen = ", ".join(f"{key} ({f'width {width}' if width else 'no CLIP vision model'})" for key, width in widths.items())
        wanted = f" of width {needed}" if needed else ""
        raise FaceGenError(f"{adapter.file.path.name} needs a CLIP vision model{wanted} in clip_vision. Found: {seen}.")
    return _pick("clip_vision", fitting, None)


def _pick(kind: str, found: Mapping[str, T], name: str | None) -> T:
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    wanted = PREFERRED.get(kind) if name is None else Path(name).as_posix()
    if wanted is not None and wanted in found:
        return found[wanted]
    given = "several were found" if name is None else f"there is no {name!r}"
    option = f"--{kind.replace('_', '-')}"
    raise FaceGenError(f"Choose a {kind.replace('_', ' ')} with {option}: {given}. There are: {', '.join(found)}.")
