"""Settings objects from JSON values, each checked against its field's type."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_type_hints

from ...errors import FaceGenError

T = TypeVar("T")
Readers = Mapping[Any, Callable[[Any, str], Any]]  # type of a field -> what reads its value; it gets the entry's name, too


class ConfigError(FaceGenError):
    """The settings can't be used; the message names the file and the entry, and not its value: that may be a secret, and
    clients read the message."""


def build(kind: type[T], content: Any, where: str, readers: Readers | None = None) -> T:
    """The dataclass `kind` with the values of a JSON object. `where` is the file and the entry that messages name.

    Raises ConfigError for an entry that is unknown, missing or of another type than its field.
    """
    entries = read_object(content, where)
    known = get_type_hints(kind)
    if unknown := set(entries) - {f.name for f in fields(kind)}:  # type: ignore[arg-type]
        raise ConfigError(f"{where} has {', '.join(sorted(unknown))}; known are {', '.join(known)}.")
    values = {name: read(known[name], value, f"{where}: {name}", readers) for name, value in entries.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where} lacks an entry: {error}") from error


def read(kind: Any, value: Any, where: str, readers: Readers | None = None) -> Any:
    """A JSON value as a field of type `kind` takes it. Raises ConfigError."""
    if readers and kind in readers:
        return readers[kind](value, where)
    if kind == dict[str, float]:
        return {name: read(float, number, f"{where}.{name}") for name, number in read_object(value, where).items()}
    if kind == dict[str, str]:
        return {name: read(str, text, f"{where}.{name}") for name, text in read_object(value, where).items()}
    if kind == tuple[str, ...]:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be list, not {type(value).__name__}.")
        return tuple(read(str, entry, where) for entry in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    allowed = get_args(kind) or (kind,)
    if type(value) not in allowed:
        wanted = " or ".join("null" if t is type(None) else t.__name__ for t in allowed)
        raise ConfigError(f"{where} must be {wanted}, not {type(value).__name__}.")
    return value


def read_object(value: Any, where: str) -> dict[str, Any]:
    """A JSON object. Raises ConfigError."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a JSON object.")
    return value
