"""An archive in parts that are small enough to be sent."""

import hashlib
import io
import tarfile
from pathlib import Path

from ....atomic_write import atomic_write
from ....errors import FaceGenError

MOST = 15 * 2**20  # bytes of a part


def save_parts(folder: Path, results: Path) -> None:
    """`results`/model.tar.0, .1 and so on: together, in their order, the archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(folder, arcname="tiny")
    write_parts(results, "model.tar", archive.getvalue())


def write_parts(folder: Path, name: str, content: bytes) -> None:
    """`folder`/NAME.0, .1 and so on; what a longer content left there goes."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(content), MOST)
    for number, start in enumerate(starts):
        atomic_write(folder / f"{name}.{number}", content[start : start + MOST])
    for path in folder.glob(f"{name}.*"):
        if int(path.suffix[1:]) >= len(starts):
            path.unlink()


def read_parts(folder: Path, name: str) -> bytes:
    """What write_parts was given. Raises FaceGenError when no part is there, or one in between isn't."""
    parts = {int(path.suffix[1:]): path for path in folder.glob(f"{name}.*")}
    missing = sorted(set(range(max(parts, default=0) + 1)) - set(parts))
    if missing:
        raise FaceGenError(f"{folder} lacks {', '.join(f'{name}.{number}' for number in missing)}.")
    return b"".join(parts[number].read_bytes() for number in sorted(parts))


def sealed(content: bytes) -> bytes:
    """With its checksum at the end."""
    return content + hashlib.sha256(content).digest()


def unsealed(content: bytes) -> bytes:
    """Without its checksum. Raises ValueError when it is that of something else."""
    length = len(content) - hashlib.sha256().digest_size
    if length < 0 or sealed(content[:length]) != content:
        raise ValueError("the checksum is that of something else")
    return content[:length]
