"""The clients of the settings: each with its token, and with limits of its own."""

from dataclasses import dataclass, field
from typing import Any

from .config_values import ConfigError, build, read_object

MIN_TOKEN = 16
LIMITS = ("max_queued", "pictures_a_day")


@dataclass(frozen=True)
class Token:
    """What a client sends as `key`, how many of its requests may be in work, and how many pictures it may have a day of UTC;
    None where only the limits of all hold."""

    token: str = field(repr=False)
    max_queued: int | None = None
    pictures_a_day: int | None = None


def read_tokens(value: Any, where: str) -> dict[str, Token]:
    """The tokens of a JSON object, each a text or an object. Raises ConfigError, which names no token."""
    return {name: _token(entry, f"{where}.{name}") for name, entry in read_object(value, where).items()}


def _token(entry: Any, where: str) -> Token:
    token = build(Token, entry if isinstance(entry, dict) else {"token": entry}, where)
    for name in LIMITS:
        if (limit := getattr(token, name)) is not None and limit < 1:
            raise ConfigError(f"{where}.{name} is {limit}; it must be at least 1.")
    return Token(token.token.strip(), token.max_queued, token.pictures_a_day)
