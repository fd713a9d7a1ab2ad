"""Which InsightFace model packs there are: found by what is in a folder, never by its name.

A pack is a folder that holds a detector and a recogniser: the ONNX files of buffalo_l, antelopev2 or AuraFace, or a
package of InsightFace 2 with a manifest.json that names them (raccoon_l).
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from ....errors import BrokenModelPackError
from .catalogue import CATALOGUE, recogniser_name
from .onnx_signature import Signature, read_signature

DETECTOR_OUTPUTS = (9, 15)  # scores, boxes and key points at three or five strides
ATTRIBUTE_SIDE, LANDMARK_SIDE = 96, 192  # inputs of InsightFace's other models
MANIFEST, MANIFEST_VERSION = "manifest.json", 2
DEPTH = 2  # folders below a pack's own that are looked into: archives often bring a folder of their own


@dataclass(frozen=True)
class FacePack:
    """folder: where the files lie; detector and recogniser: paths; manifest: InsightFace 2's, which says how to read them."""

    folder: Path
    detector: Path
    recogniser: Path
    manifest: bool = False

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @property
    def recogniser_name(self) -> str:
        """What embeddings are told apart by: "w600k_r50" is the one that the published FaceID adapters know."""
        return recogniser_name(self.recogniser.name, self.recogniser.stat().st_size)


def find_packs(folders: list[str]) -> dict[str, Path]:
    """Name -> folder of every model pack in `<folder>/models`, looking into nested folders, too.

    The name is that of the folder in `models`; the path is the folder that holds the files.
    """
    packs: dict[str, Path] = {}
    for folder in folders:
        root = Path(folder, "models")
        for entry in sorted(root.iterdir()) if root.is_dir() else ():
            if entry.is_dir() and (inside := _look_inside(entry)):
                packs.setdefault(entry.name, inside.folder)
    return packs


def open_pack(folder: Path) -> FacePack:
    """The pack in `folder` or below it. Raises BrokenModelPackError, with what is there instead, when there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BrokenModelPackError(f"The InsightFace model pack {folder} is not there (any more).")
    pack = _look_inside(folder)
    if pack is None:
        raise BrokenModelPackError(
            f"No InsightFace model pack in {folder}: it needs a detector with key points (such as det_10g.onnx) and a "
            f"recogniser (such as w600k_r50.onnx). It holds: {_contents(folder)}."
        )
    return pack


def missing_pack_message(name: str, folders: list[str]) -> str:
    """What is known of a pack that isn't there: the folder that it belongs in, its files with sizes, licence and source."""
    target = Path(folders[0], "models", name)
    known = CATALOGUE.get(name)
    there = next((found for folder in folders if (found := Path(folder, "models", name)).is_dir()), None)
    state = f" ({there} holds: {_contents(there)})" if there else ""
    if known is None:
        wanted = "a detector (such as det_10g.onnx) and a recogniser (such as w600k_r50.onnx)"
        return f"InsightFace model pack {name!r} not found{state}. Its ONNX files belong in {target}: {wanted}."
    return (
        f"InsightFace model pack {name!r} not found{state}. It belongs in {target}: {known.files_in_words()}. "
        f"The download: {known.size_and_licence()}; source: {known.source}."
    )


def _look_inside(folder: Path) -> FacePack | None:
    level = [folder]
    for _ in range(DEPTH + 1):
        for candidate in level:
            if pack := _from_manifest(candidate) or _from_files(candidate):
                return pack
        level = [sub for candidate in level for sub in sorted(candidate.iterdir()) if sub.is_dir()]
    return None


def _from_manifest(folder: Path) -> FacePack | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["manifest_version"] != MANIFEST_VERSION:
            return None
        detector, recogniser = (folder / manifest["tasks"][task]["file"] for task in ("detection", "recognition"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    files = (detector, recogniser)
    inside = all(file.is_file() and file.resolve().is_relative_to(folder.resolve()) for file in files)
    return FacePack(folder, detector, recogniser, manifest=True) if inside else None


def _from_files(folder: Path) -> FacePack | None:
    """As InsightFace does, the first detector and the first recogniser by name."""
    roles: dict[str, Path] = {}
    for file in sorted(folder.glob("*.onnx")):
        roles.setdefault(role(file), file)
    if "detector" in roles and "recogniser" in roles:
        return FacePack(folder, roles["detector"], roles["recogniser"])
    return None


def role(file: Path) -> str:
    """ "detector", "recogniser", "detector without key points", "unreadable" or "other"."""
    try:
        stat = file.stat()
        return _role(file, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return "unreadable"


@functools.lru_cache(maxsize=256)
def _role(file: Path, size: int, modified: int) -> str:
    try:
        return _judge(read_signature(file))
    except ValueError:
        return "unreadable"


def _judge(signature: Signature) -> str:
    if len(signature.outputs) in DETECTOR_OUTPUTS:
        return "detector"
    if len(signature.outputs) >= 5:
        return "detector without key points"
    if len(signature.inputs) != 1 or len(signature.inputs[0]) != 4 or len(signature.outputs) != 1:
        return "other"
    height, width = signature.inputs[0][2:]
    square = height == width and height >= 112 and height % 16 == 0 and height not in (ATTRIBUTE_SIDE, LANDMARK_SIDE)
    return "recogniser" if square and len(signature.outputs[0]) in (0, 2) else "other"


def _contents(folder: Path) -> str:
    files = [(file.relative_to(folder).as_posix(), role(file)) for file in sorted(folder.rglob("*.onnx"))]
    return ", ".join(f"{name} ({kind})" for name, kind in files[:12]) or "no ONNX file"
