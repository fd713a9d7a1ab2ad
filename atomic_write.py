"""Files that appear whole or not at all: nothing half-written stays under its name, whatever stops the writing."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER, USUAL = 0o600, 0o666  # modes: for the owner alone; as every new file, of which the user's umask takes something away


@contextmanager
def atomic_path(target: Path, mode: int = OWNER) -> Iterator[Path]:
    """A path beside `target` to write to; at the end it takes target's place, and after an error it is deleted.

    The folder is made where it lacks. The file has `mode`, less the user's umask. Raises OSError when it can't be written;
    what the block raises is passed on.
    """
    with _part(target, mode) as part:
        yield part
        os.replace(part, target)


def atomic_write(target: Path, data: bytes, mode: int = OWNER) -> None:
    """Write `data` to `target`, whole or not at all; see atomic_path."""
    with atomic_path(target, mode) as part:
        part.write_bytes(data)


def write_once(target: Path, data: bytes, mode: int = OWNER) -> bool:
    """As atomic_write, but a file that is there stays as it is; whether it was written."""
    with _part(target, mode) as part:
        part.write_bytes(data)
        try:
            os.link(part, target)
        except FileExistsError:
            return False
        except OSError:  # no links on this disk: then two who write at the very same moment aren't told apart
            if target.exists():
                return False
            os.replace(part, target)
    return True


@contextmanager
def _part(target: Path, mode: int) -> Iterator[Path]:
    """A new file beside `target`, which is gone at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
