"""The folder of a batch: pictures, the index of them, and what couldn't be made.

A picture's file appears whole and holds its entry of the index. So after any stop, what is there is known: an entry that the
index lacks is read from the pictures, and nothing is made twice.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from ...atomic_write import USUAL, atomic_path, atomic_write
from ...errors import FaceGenError
from ..photos import prepare_folder
from .maker import Done
from .pieces import BadPiece, Piece

INDEX, PARQUET, ERRORS, PICTURES, LOCK = "index.jsonl", "index.parquet", "errors.jsonl", "pictures", ".lock"
AT_ONCE = 1000  # lines that are turned into Parquet together
IN_USE = "Another batch writes into {}. Wait for it, or give another folder with -o."


class Outputs:
    """To be used in a `with`. Raises FaceGenError when the folder can't be written, or another batch is at it."""

    def __init__(self, folder: Path):
        self.folder, self.pictures = folder, folder / PICTURES
        self.made: set[str] = set()  # ids
        self.errors = 0
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "Outputs":
        prepare_folder(self.pictures)
        with self._closing as stack, self._writing():
            _lock(stack.enter_context((self.folder / LOCK).open("ab")), self.folder)
            self._cut_index()
            self._index = stack.enter_context((self.folder / INDEX).open("ab"))
            self._errors = stack.enter_context((self.folder / ERRORS).open("wb"))
            for part in self.pictures.glob(".*.part"):  # of a process that was killed
                part.unlink(missing_ok=True)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def has(self, piece: Piece) -> bool:
        """Whether the piece is made. One whose pictures are all there and which isn't in the index yet is put into it."""
        if piece.id in self.made:
            return True
        if not (self.pictures / f"{piece.id}_0.png").exists():
            return False
        entry = self._entry_in_pictures(piece)
        if entry is not None:
            self._append(entry)
        return entry is not None

    def keep(self, done: Done) -> None:
        """Write the pictures, then their line of the index."""
        with self._writing():
            for name, picture in zip(done.entry["files"], done.pictures, strict=True):
                atomic_write(self.pictures / name, picture, USUAL)
        self._append(done.entry)

    def tell(self, bad: BadPiece) -> None:
        """Write a line of the errors."""
        self.errors += 1
        track_id = {} if bad.track_id is None else {"track_id": bad.track_id}
        request = {"request": bad.request} if bad.request else {}
        with self._writing():
            _write_line(self._errors, {"row": bad.row, **track_id, **request, "errors": bad.errors})

    def write_parquet(self) -> Path | None:
        """The index once more as Parquet; None without pyarrow."""
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError:
            return None
        target = self.folder / PARQUET
        schema = _schema()
        with self._writing(), atomic_path(target, USUAL) as part, parquet.ParquetWriter(part, schema) as writer:
            for entries in _groups(self._entries()):
                writer.write_table(pa.Table.from_pylist([_flat(entry) for entry in entries], schema=schema))
        return target

    def _cut_index(self) -> None:
        """Read which ids the index has; a line that was cut short by a kill goes, and so does one whose pictures are gone."""
        path = self.folder / INDEX
        if not path.exists():
            return
        with atomic_path(path, USUAL) as part, part.open("wb") as kept:
            for entry in self._entries():
                if entry["id"] not in self.made and all((self.pictures / name).exists() for name in entry["files"]):
                    self.made.add(entry["id"])
                    _write_line(kept, entry)

    def _entries(self) -> Iterator[dict[str, Any]]:
        with (self.folder / INDEX).open("rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and isinstance(entry.get("files"), list) and isinstance(entry.get("id"), str):
                        yield entry

    def _entry_in_pictures(self, piece: Piece) -> dict[str, Any] | None:
        """None unless all of the piece's pictures are there, whole."""
        try:
            with Image.open(self.pictures / f"{piece.id}_0.png") as picture:
                entry: dict[str, Any] = json.loads(picture.info["parameters"])
            there = all((self.pictures / name).exists() for name in entry["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return entry if there and entry.get("id") == piece.id else None

    def _append(self, entry: Mapping[str, Any]) -> None:
        with self._writing():
            _write_line(self._index, entry)
        self.made.add(entry["id"])

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or error
            raise FaceGenError(f"{self.folder} can't be written: {why}. What is made stays; run the command again.") from error


def _write_line(file: BinaryIO, content: Mapping[str, Any]) -> None:
    file.write(json.dumps(content).encode() + b"\n")
    file.flush()


def _lock(file: BinaryIO, folder: Path) -> None:
    """The system lets go of it when this process ends, however it ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise FaceGenError(IN_USE.format(folder)) from error


def _groups(entries: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for entry in entries:
        group.append(entry)
        if len(group) == AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _schema() -> Any:
    import pyarrow as pa

    text, number, several = pa.string(), pa.int64(), pa.list_
    return pa.schema(
        {
            "id": text,
            "row": number,
            "track_id": text,
            "files": several(text),
            "seeds": several(pa.uint64()),
            "likeness": several(number),
            "recogniser": text,
            "flagged": several(pa.bool_()),
            "seconds": pa.float64(),
            "best_of": number,
            "flavour": text,
            "models": text,
            "request": text,
            "tip": text,
        }
    )


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """With text where rows may differ in kind."""
    track_id = entry.get("track_id")
    texts = {name: json.dumps(entry[name]) for name in ("models", "request")}
    return {**entry, **texts, "track_id": None if track_id is None else str(track_id)}
