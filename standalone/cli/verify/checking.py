"""What a model file is, and whether its bytes are the published ones."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....models.checkpoint_kind import kind_of
from ....models.controlnet_kind import controlnet_kind
from ....models.face.packs.catalogue import PACKS
from ....models.face.packs.find import open_pack
from ....models.published import PUBLISHED, Download, megabytes
from ....models.safetensors_header import clip_width
from ....models.tiny_files import TINY
from ...model_files import ADAPTERS, ModelFiles
from ..common import say
from ..doctor_rows.methods import PARTS
from ..file_download import sha256

PUBLISHED_BYTES, OTHER_BYTES = "as published (SHA-256)", "NOT the published file of that name (other size or SHA-256)"
PUBLISHED_SIZE = "as large as published; no SHA-256 is published"
UNKNOWN = "nothing is published to compare it with"
SHIPPED, CHANGED = "as shipped with the pack (SHA-256)", "NOT as shipped with the pack"
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class CheckedFile:
    """kind: as in ModelFiles; size in bytes; what: as what it was recognised; check: whether it is as published, in words."""

    kind: str
    name: str
    size: int
    what: str
    check: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Checker:
    """Checks each file once, however many ways read it."""

    def __init__(self) -> None:
        self.checked: dict[Path, CheckedFile] = {}

    def check(self, files: ModelFiles) -> None:
        """All that a way reads. Raises FaceGenError for a file that can't be read."""
        for kind, path in vars(files).items():
            if path is None:
                continue
            if kind == "face_pack":
                pack = open_pack(path)
                for part in (pack.detector, pack.recogniser):
                    what = f"of the model pack {pack.name}" + (f", {pack.recogniser_name}" if part == pack.recogniser else "")
                    self._check(kind, part, what)
            else:
                self._check(kind, path, _what(kind, path))

    def _check(self, kind: str, path: Path, what: str) -> None:
        if path not in self.checked:
            size = sum(file.stat().st_size for file in _inside(path))
            self.checked[path] = CheckedFile(kind, path.name, size, what, _compared(path, size))


def _what(kind: str, path: Path) -> str:
    if kind == "checkpoint":
        return kind_of(path).base + (", a diffusers folder" if path.is_dir() else "")
    if kind in ADAPTERS:
        variant = ADAPTERS[kind](path).variant
        return f"{variant.name} for {variant.base}"
    if kind == "clip_vision":
        return f"CLIP vision model of width {clip_width(path)}"
    return controlnet_kind(path).in_words() if kind == "controlnet" else PARTS[kind]


def _compared(path: Path, size: int) -> str:
    if path.is_relative_to(TINY):
        return SHIPPED if _is_shipped(path) else CHANGED
    if path.is_dir():
        return UNKNOWN
    named = [wanted for wanted in _downloads() if wanted.name == path.name and (wanted.sha256 or wanted.size)]
    digests = {wanted.sha256 for wanted in _downloads() if wanted.size == size or (wanted in named and wanted.size is None)}
    if digests := digests - {None}:
        say(f"checking {path.name} ({megabytes(size)})")
        if sha256(path) in digests:
            return PUBLISHED_BYTES
    if any(wanted.sha256 is None and wanted.size == size for wanted in named):
        return PUBLISHED_SIZE
    return OTHER_BYTES if named else UNKNOWN


def _downloads() -> Iterator[Download]:
    """What is published of single files: model files, and the two of each model pack, most of which come in an archive."""
    yield from (file.download for file in PUBLISHED.values())
    for pack in PACKS:
        single = {wanted.name: wanted for wanted in pack.downloads}
        yield from (single.get(name, Download(name, size)) for name, size in pack.models)


def _inside(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _is_shipped(path: Path) -> bool:
    lines = (TINY / SUMS).read_text(encoding="utf-8").splitlines()
    sums = {TINY / name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    files = _inside(path)
    return bool(files) and all(sums.get(file) == sha256(file) for file in files)
