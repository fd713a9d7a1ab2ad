"""Files that appear whole or not at all: nothing half-written stays under its name, whatever stops the writing."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path, mode: int | None = None) -> Iterator[Path]:
    """A path beside `target` to write to; at the end it takes target's place, and after an error it is deleted.

    The folder is made where it lacks. The file is readable by its owner alone; `mode` (such as 0o644) says otherwise.
    Raises OSError when it can't be written; what the block raises is passed on.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        if mode is not None:
            part.chmod(mode)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def atomic_write(target: Path, data: bytes, mode: int | None = None) -> None:
    """Write `data` to `target`, whole or not at all; see atomic_path."""
    with atomic_path(target, mode) as part:
        part.write_bytes(data)
