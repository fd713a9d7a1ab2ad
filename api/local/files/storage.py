"""What the local API asks of wherever its files are: a folder of this machine, or a place that several fronts reach."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Files by name. A file appears whole or not at all. Methods raise OSError; `is_near` says that they answer at once, else
    they wait for a network, and are called in threads."""

    is_near: bool

    def put(self, name: str, data: bytes) -> bool:
        """Write a file unless it is there; whether it was written."""
        ...

    def get(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is none."""
        ...

    def path(self, name: str) -> Path | None:
        """The file on this machine's disk; None where it isn't on it."""
        ...

    def are_there(self, names: Iterable[str]) -> bool: ...

    def delete(self, names: Iterable[str]) -> None:
        """Those that are there, as far as possible: one that can't be deleted must not keep the others."""
        ...

    def sizes(self, part: str) -> list[int]:
        """In bytes, of all whose name has this part."""
        ...

    def delete_older_than(self, moment: float) -> None:
        """What was written before `moment` (seconds since the epoch) and nobody else deletes."""
        ...
