"""What an ONNX file takes and gives, read from its outline.

Weights are skipped over, so a file of hundreds of megabytes costs milliseconds, and neither onnx nor onnxruntime is
imported: a host can list its choices while it starts. A file of another kind, or the zeros of a download that isn't finished,
are given up on as quickly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Field numbers of onnx.proto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
MODEL_GRAPH = 7
GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 5, 11, 12
TENSOR_NAME = 8
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR, TENSOR_SHAPE, SHAPE_DIM, DIM_VALUE = 1, 2, 1, 1
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
FIXED = {FIXED64: 8, FIXED32: 4}
MOST_FIELDS = 200_000  # that are looked at; a network has a few thousand nodes and weights
LONGEST_NAME = 4096  # bytes


@dataclass(frozen=True)
class Signature:
    """Shapes of what a graph takes and gives, in its order; a free dimension is 0. Constants are not inputs."""

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


def read_signature(path: Path) -> Signature:
    """Raises ValueError when the file is not an ONNX model or ends early, OSError when it can't be read."""
    with open(path, "rb") as opened:
        file = _File(opened)
        size = file.seek(0, 2)
        for field, start, end in _fields(file, 0, size):
            if field == MODEL_GRAPH:
                return _graph(file, start, end)
    raise ValueError("no graph in it")


class _File:
    """An open file, and how many fields may still be looked at in it."""

    def __init__(self, file: BinaryIO):
        self.seek, self.read, self.tell = file.seek, file.read, file.tell
        self.left = MOST_FIELDS


def _graph(file: _File, start: int, end: int) -> Signature:
    constants, inputs, outputs = set(), {}, []
    for field, first, last in _fields(file, start, end):
        if field == GRAPH_INITIALIZER:
            constants.add(_text(file, first, last, TENSOR_NAME))
        elif field == GRAPH_INPUT:
            inputs[_text(file, first, last, VALUE_NAME)] = _shape(file, first, last)
        elif field == GRAPH_OUTPUT:
            outputs.append(_shape(file, first, last))
    # Before IR version 4 the constants were listed among the inputs.
    return Signature(tuple(shape for name, shape in inputs.items() if name not in constants), tuple(outputs))


def _shape(file: _File, start: int, end: int) -> tuple[int, ...]:
    dims = []
    places = [(start, end)]
    for wanted in (VALUE_TYPE, TYPE_TENSOR, TENSOR_SHAPE):
        places = [(a, b) for first, last in places for field, a, b in _fields(file, first, last) if field == wanted]
    for first, last in places:
        for field, a, b in _fields(file, first, last):
            if field == SHAPE_DIM:
                dims.append(next((v for f, v, _ in _fields(file, a, b, values=True) if f == DIM_VALUE), 0))
    return tuple(dims)


def _text(file: _File, start: int, end: int, wanted: int) -> bytes:
    for field, first, last in _fields(file, start, end):
        if field == wanted:
            if last - first > LONGEST_NAME:
                raise ValueError(f"a name of {last - first} bytes")
            file.seek(first)
            return file.read(last - first)
    return b""


def _fields(file: _File, start: int, end: int, values: bool = False) -> Iterator[tuple[int, int, int]]:
    """(field number, first byte, byte after the last) of each field of a message that lies at [start, end).

    With `values`, the number of an integer field stands in place of its first byte.
    """
    at = start
    while at < end:
        file.left -= 1
        if file.left < 0:
            raise ValueError(f"more than {MOST_FIELDS} fields")
        file.seek(at)
        tag = _varint(file)
        kind, field = tag & 7, tag >> 3
        if not field:
            raise ValueError(f"not a protobuf message at byte {at}")
        first = file.tell()
        if kind == VARINT:
            number = _varint(file)
            at = file.tell()
            yield field, number if values else first, at
            continue
        if kind == LENGTH:
            length = _varint(file)
            first = file.tell()
        elif kind in FIXED:
            length = FIXED[kind]
        else:
            raise ValueError(f"not a protobuf message at byte {at}")
        at = first + length
        if at > end:
            raise ValueError(f"a part that begins at byte {first} goes beyond the end")
        yield field, 0 if values else first, at


def _varint(file: _File) -> int:
    number = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise ValueError("it ends early or is no ONNX file")
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return number
        shift += 7
