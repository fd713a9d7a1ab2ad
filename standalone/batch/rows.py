"""The rows of a requests file, one after the other: JSON Lines, CSV or Parquet. The file is never read as a whole."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import FaceGenError

LONGEST = 32 << 20  # bytes of a row: a photo as data URI, and the rest
MANY = 256  # rows of a Parquet file that are decoded at once
NO_PYARROW = "{} is a Parquet file, and those are read with the Python library pyarrow, which isn't there: pip install pyarrow"


@dataclass(frozen=True)
class Row:
    """number: its line in a JSON Lines file, else its place below the header, from 1; fields: what it holds, without those
    that it leaves empty; problem: why it can't be read, and then there are no fields."""

    number: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of the file, in its order. Raises FaceGenError if it can't be read, or is of no kind that is known."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise FaceGenError(f"{path.name} is none of the kinds of file that are read: {', '.join(READERS)}.")
    try:
        yield from reader(path)
    except FileNotFoundError as error:
        raise FaceGenError(f"There is no file {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FaceGenError(f"{path} can't be read: {error}") from error


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST):
            number += 1
            if not line.endswith(b"\n") and len(line) == LONGEST:
                while (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
                    pass
                yield Row(number, problem=f"The line has more than {LONGEST >> 20} MB.")
            elif line := line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").strip():
                yield _json_row(number, line)


def _json_row(number: int, line: bytes) -> Row:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(number, problem=f"The line is no JSON: {error}.")
    if not isinstance(content, dict):
        return Row(number, problem='The line must be a JSON object, such as {"face_image": "anna.jpg", "prompt": "a sailor"}.')
    return Row(number, _without_empty(content))


def _csv(path: Path) -> Iterator[Row]:
    """Cells are text; one that is a JSON list of texts stands for several."""
    csv.field_size_limit(LONGEST)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        number = 0
        while True:
            number += 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(number, problem=f"The row is no CSV: {error}.")
                continue
            if cells.get(""):
                yield Row(number, problem=f"The row has more cells than the header, which has {len(reader.fieldnames or ())}.")
                continue
            yield Row(number, _without_empty({name: _cell(value) for name, value in cells.items()}))


def _cell(text: Any) -> Any:
    if isinstance(text, str) and text.lstrip().startswith("["):
        try:
            several = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(several, list) and all(isinstance(one, str) for one in several):
            return several
    return text


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise FaceGenError(NO_PYARROW.format(path.name)) from error
    path.open("rb").close()  # Python's own errors, for a file that isn't there
    try:
        with ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(MANY):
                for content in batch.to_pylist():
                    number += 1
                    yield Row(number, _without_empty(content))
    except ArrowException as error:
        raise FaceGenError(f"{path} can't be read as Parquet: {error}") from error


def _without_empty(content: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name).strip(): value for name, value in content.items() if not _is_empty(value)}


def _is_empty(value: Any) -> bool:
    """NaN is how pandas writes a number that isn't there."""
    return value is None or value == "" or value == [] or value != value


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
}
