"""The doctor's look at what each method has: whether every checkpoint has an adapter, and what a method still lacks."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ....errors import FaceGenError
from ....models.checkpoint_kind import SD15, SDXL, SUPPORTED, kind_of
from ....models.controlnet_kind import ControlNetKind, controlnet_kind
from ....models.face.packs.find import find_packs, open_pack
from ....models.published import FACEID_SD15, FACEID_SDXL, STARTER_OF_INSTANTID, STARTER_OF_PULID
from ..common import fetch_command
from .files import NOTE, OK, ModelFolders, Row, listed

FACEID_OF = {SD15: FACEID_SD15, SDXL: FACEID_SDXL}
RECOGNISER = "glintr100"  # that InstantID and PuLID were trained with
PARTS = {
    "instantid": "adapter",
    "pulid": "adapter",
    "vision_tower": "vision tower EVA02-CLIP",
    "face_parsing": "face-parsing network",
    "controlnet": "ControlNet",
    "face_pack": "model pack antelopev2",
    "checkpoint": "SDXL checkpoint",
}


def method_rows(folders: ModelFolders) -> Iterator[Row]:
    if folders.models is None or not folders.models.is_dir():
        return
    bases = checkpoints_by_base(folders)
    yield from faceid_for(bases, folders)
    yield instantid(bases.get(SDXL, []), folders)
    yield pulid(folders)


def checkpoints_by_base(folders: ModelFolders) -> dict[str, list[Path]]:
    """Base, such as SDXL -> its checkpoints, of those that can be told."""
    found: dict[str, list[Path]] = {}
    for file in folders.files("checkpoints", ".safetensors", "model_index.json"):
        try:
            kind = kind_of(file.parent if file.name == "model_index.json" else file)
        except FaceGenError:
            continue  # told as a damaged file
        if kind.base in SUPPORTED and not kind.lacks:
            found.setdefault(kind.base, []).append(kind.path)
    return found


def faceid_for(bases: dict[str, list[Path]], folders: ModelFolders) -> Iterator[Row]:
    """A row for each base of FaceID that has a checkpoint and, though there are FaceID files, none that fits it."""
    widths = faceid_widths(folders)
    for base, faceid in FACEID_OF.items():
        paths = bases.get(base, [])
        if paths and widths and not any(kind_of(path).context_dim in widths for path in paths):
            cure = f"Run: {fetch_command([faceid], folders.models or Path())}"
            yield Row(NOTE, f"FaceID for {base}", f"none, though there is {listed(paths)}", cure)


def faceid_widths(folders: ModelFolders) -> set[int]:
    """Widths of the text context that the FaceID files were made for; none where they can't be opened."""
    try:
        from ....models.identity.adapter_file import AdapterFile
        from ....models.identity.faceid.variant import recognise
    except ImportError:
        return set()
    widths = set()
    for file in folders.files("ipadapter", ".bin", ".safetensors", ".pt", ".pth"):
        try:
            widths.add(recognise(AdapterFile(file)).context_dim)
        except FaceGenError:
            continue  # told in a row of its own
    return widths


def instantid(checkpoints: list[Path], folders: ModelFolders) -> Row:
    """What there is of it, and what is lacking of it where something is there."""
    found = {
        "instantid": folders.files("instantid", ".bin", ".safetensors"),
        "controlnet": controlnets(folders),
        "face_pack": packs(folders),
        "checkpoint": checkpoints,
    }
    if not found["instantid"] and not any("instantid" in file.as_posix().lower() for file in found["controlnet"]):
        return Row(OK, "InstantID", "not set up (another method, for SDXL)")
    return told("InstantID", found, STARTER_OF_INSTANTID, folders)


def pulid(folders: ModelFolders) -> Row:
    """As of InstantID. Any SDXL or FLUX.1 model does, and the vision tower also needs a library."""
    shared = [file for file in folders.files("ipadapter", ".bin", ".safetensors") if "pulid" in file.name.lower()]
    vision = folders.files("clip_vision", ".pt", ".pth", ".bin", ".safetensors")
    parsing = folders.files("facexlib", ".pth", ".safetensors")
    found = {
        "pulid": [*folders.files("pulid", ".bin", ".safetensors"), *shared],
        "vision_tower": [file for file in vision if "eva02" in file.name.lower()],
        "face_parsing": [file for file in parsing if "bisenet" in file.name.lower()],
        "face_pack": packs(folders),
    }
    if not found["pulid"]:
        return Row(OK, "PuLID", "not set up (another method, for SDXL and FLUX.1)")
    row = told("PuLID", found, STARTER_OF_PULID, folders)
    if importlib.util.find_spec("timm") is None and row.state == OK:
        install = f'Run: "{sys.executable}" -m pip install timm'
        return Row(NOTE, "PuLID", f"lacks the library timm (there is {row.found})", install)
    return row


def told(method: str, found: Mapping[str, list[Path]], starter: Mapping[str, str], folders: ModelFolders) -> Row:
    """What there is of a method, by the kinds in PARTS, and what to fetch of it."""
    lacking = [kind for kind in found if not found[kind]]
    has = "; ".join(f"{PARTS[kind]}: {listed(files)}" for kind, files in found.items() if files)
    if not lacking:
        return Row(OK, method, has)
    cure = f"Run: {fetch_command([starter[kind] for kind in lacking], folders.models or Path())}"
    return Row(NOTE, method, f"lacks {', '.join(PARTS[kind] for kind in lacking)} (there is {has})", cure)


def controlnets(folders: ModelFolders) -> list[Path]:
    """Those of SDXL."""
    files = folders.files("controlnet", ".safetensors")
    return [file for file in files if controlnet_kind(file, default=ControlNetKind()).added is not None]


def packs(folders: ModelFolders) -> list[Path]:
    found = find_packs([str(path) for path in folders.folders["insightface"]])
    return [path for path in found.values() if open_pack(path).recogniser_name == RECOGNISER]
