"""Files in one folder of this machine, or of a disk that several machines share."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ....atomic_write import write_once


class Folder:
    """A Storage, see storage.py; the folder is made where it lacks."""

    is_near = True

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, name: str, data: bytes) -> bool:
        return write_once(self._folder / name, data)

    def get(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def path(self, name: str) -> Path | None:
        path = self._folder / name
        return path if path.is_file() else None

    def are_there(self, names: Iterable[str]) -> bool:
        start = f"{self._folder}/"  # as text, and access(): this is asked with each fetch
        return all(os.access(start + name, os.F_OK) for name in names)

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            delete_file(self._folder / name)

    def sizes(self, part: str) -> list[int]:
        return [path.stat().st_size for path in self._folder.glob(f"*-{part}.*") if not path.name.startswith(".")]

    def delete_older_than(self, moment: float) -> None:
        """All of them, also what a process that was killed left behind."""
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):  # renamed or deleted meanwhile
                if path.stat().st_mtime < moment:
                    path.unlink()


def delete_file(path: Path) -> None:
    """Delete it if possible; one that another program holds open must not keep the others from being deleted."""
    with contextlib.suppress(OSError):
        path.unlink()
