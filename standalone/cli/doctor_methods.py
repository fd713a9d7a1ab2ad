"""The doctor's look at what each method has: whether every checkpoint has an adapter, and what InstantID still lacks."""

from collections.abc import Iterator
from pathlib import Path

from ...errors import FaceGenError
from ...models.checkpoint_kind import SD15, SDXL, SUPPORTED, kind_of
from ...models.controlnet_kind import ControlNetKind, controlnet_kind
from ...models.face.packs.find import find_packs, open_pack
from ...models.published import FACEID_SD15, FACEID_SDXL, STARTER_OF_INSTANTID
from .common import fetch_command
from .doctor_files import NOTE, OK, ModelFolders, Row, listed

FACEID_OF = {SD15: FACEID_SD15, SDXL: FACEID_SDXL}
RECOGNISER = "glintr100"  # that InstantID was trained with
PARTS = {
    "instantid": "adapter",
    "controlnet": "ControlNet",
    "face_pack": "face pack antelopev2",
    "checkpoint": "SDXL checkpoint",
}


def method_rows(folders: ModelFolders) -> Iterator[Row]:
    if folders.models is None or not folders.models.is_dir():
        return
    bases = checkpoints_by_base(folders)
    yield from faceid_for(bases, folders)
    yield instantid(bases.get(SDXL, []), folders)


def checkpoints_by_base(folders: ModelFolders) -> dict[str, list[Path]]:
    """SD1.5 and SDXL -> its checkpoints, of those that can be told."""
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
    """A row for each base that has a checkpoint and, though there are FaceID files, none that fits it."""
    widths = faceid_widths(folders)
    for base, paths in bases.items():
        if widths and not any(kind_of(path).context_dim in widths for path in paths):
            cure = f"Run: {fetch_command([FACEID_OF[base]], folders.models or Path())}"
            yield Row(NOTE, f"FaceID for {base}", f"none, though there is {listed(paths)}", cure)


def faceid_widths(folders: ModelFolders) -> set[int]:
    """Widths of the text context that the FaceID files were made for; none where they can't be opened."""
    try:
        from ...models.identity.adapter_file import AdapterFile
        from ...models.identity.faceid.variant import recognise
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
    lacking = [kind for kind in PARTS if not found[kind]]
    has = "; ".join(f"{PARTS[kind]}: {listed(found[kind])}" for kind in PARTS if found[kind])
    if not lacking:
        return Row(OK, "InstantID", has)
    names = [STARTER_OF_INSTANTID[kind] for kind in lacking]
    cure = f"Run: {fetch_command(names, folders.models or Path())}"
    return Row(NOTE, "InstantID", f"lacks {', '.join(PARTS[kind] for kind in lacking)} (there is {has})", cure)


def controlnets(folders: ModelFolders) -> list[Path]:
    """Those of SDXL."""
    files = folders.files("controlnet", ".safetensors")
    return [file for file in files if controlnet_kind(file, default=ControlNetKind()).added is not None]


def packs(folders: ModelFolders) -> list[Path]:
    found = find_packs([str(path) for path in folders.folders["insightface"]])
    return [path for path in found.values() if open_pack(path).recogniser_name == RECOGNISER]
