"""A submitted body, however loosely written, as an exact request: what was changed is said in the tip."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ....contract import STYLES, ContractError, Endpoint, FaceGenRequest, Field, known_styles
from ...download import DownloadError, Guard, PrivateURL
from .sizes import fit, size_tip

NONE = {"", "null", "none", "undefined"}
TRUE, FALSE = {"yes", "true", "1", "on"}, {"no", "false", "0", "off"}
MAX_TEXT = {"prompt": 10_000, "negative_prompt": 10_000, "webhook": 2_048, "track_id": 255, "style": 64}  # characters
NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})(e[+-]?\d{1,3})?", re.IGNORECASE)


# What the official Python SDK sends for a field that its caller left out, where the contract forbids it.
SDK_DEFAULTS = {"s_scale": 7.5, "num_inference_steps": 20}
SIZE = ("width", "height")
ALLOW = "If it may be reached, name it in allowed_hosts of the local API's settings."


@dataclass(frozen=True)
class Wanted:
    """What a body asks of an endpoint: the values that were given, within their ranges, and what has to be said of them. The
    size is as it was given: what becomes of it is known when the photo is."""

    endpoint: Endpoint
    values: Mapping[str, Any]
    tips: tuple[str, ...] = ()

    @property
    def face_image(self) -> str:
        return str(self.values["face_image"])

    @property
    def webhook(self) -> str | None:
        return self.values.get("webhook")

    def request(self, photo: tuple[int, int]) -> tuple[FaceGenRequest, str]:
        """The request, and the tip, "" if there is nothing to say. `photo` is the photo's width and height."""
        given = self.values.get("width"), self.values.get("height")
        width, height = fit(given, photo, self.endpoint.fields)
        values, tips = {**self.values, "width": width, "height": height}, [*self.tips, size_tip(given, (width, height))]
        if values.get("samples", 1) > (most := self.endpoint.most_samples(width, height)):
            values["samples"] = most
            tips.append(f"samples is {most} at {width}x{height}.")
        return self.endpoint.request(**values), " ".join(filter(None, tips))


def read_request(body: Any, endpoint: Endpoint, guard: Guard, styles: Iterable[str] = STYLES) -> Wanted:
    """What a decoded JSON body asks of `endpoint`. `styles` are those that there are.

    Raises ContractError, naming every field that can't be read.
    """
    if not isinstance(body, dict):
        raise ContractError({"body": ["The body must be a JSON object."]})
    wanted, errors = read_fields({name.strip(): value for name, value in body.items()}, endpoint, guard, styles)
    if errors:
        raise ContractError(errors)
    return wanted


def read_fields(
    body: Mapping[str, Any], endpoint: Endpoint, guard: Guard, styles: Iterable[str] = STYLES
) -> tuple[Wanted, dict[str, list[str]]]:
    """What can be read of a body, and of each field that can't, what is wrong with it."""
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    tips: list[str] = []
    for name, rule in endpoint.fields.items():
        try:
            value = _read(known_styles(styles) if name == "style" else rule, body.get(name))
            if value is not None:
                values[name] = value if name in SIZE else _into_range(rule, value, tips)
        except ValueError as error:
            errors[name] = [str(error)]
    if values.get("webhook"):
        try:
            guard.check_url(values["webhook"])
        except DownloadError as error:
            errors["webhook"] = [unusable("webhook", error)]
    missing = {name for name, rule in endpoint.fields.items() if rule.required} - set(values) - set(errors)
    errors |= {name: [f"The {name} field is required."] for name in missing}
    return Wanted(endpoint, values, tuple(tips)), {name: errors[name] for name in endpoint.fields if name in errors}


def unusable(name: str, error: Exception) -> str:
    """What is wrong with the URL in a field, and what can be done about it."""
    return f"The {name} field can't be used. {error}{f' {ALLOW}' if isinstance(error, PrivateURL) else ''}"


def _read(rule: Field, value: Any) -> Any:
    """The value in the field's own type; None where the field was left out. ValueError says what is wrong."""
    if isinstance(value, (list, dict)):  # not shown: it may be nested too deeply to be written
        raise ValueError(f"The {rule.name} field can't be a list or an object.")
    if isinstance(value, str):
        value = _text(rule, value)
    if value is None:
        return None
    kinds = rule.type if isinstance(rule.type, tuple) else (rule.type,)
    if len(kinds) == 1:
        result = READERS[kinds[0]](value)
    else:
        result = value if isinstance(value, kinds) and not isinstance(value, bool) else None
    if isinstance(result, str) and rule.choices:
        result = next((choice for choice in rule.choices if choice.lower() == result.lower()), result)
    if result is None or (rule.choices and result not in rule.choices):
        raise ValueError(rule.problem(value) or f"The {rule.name} field can't be {_shown(value)}.")
    return result


def _text(rule: Field, value: str) -> str | None:
    longest = MAX_TEXT.get(rule.name)
    if longest and len(value) > longest:
        raise ValueError(f"The {rule.name} field has {len(value)} characters; {longest} are allowed.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"The {rule.name} field is not valid Unicode text.") from None
    stripped = value.strip()
    if rule.required:
        return stripped or None
    return None if stripped.lower() in NONE else stripped


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | int | None:
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or number != int(number) else int(number)


def _boolean(value: Any) -> bool | None:
    word = str(value).lower() if isinstance(value, (str, int)) else ""
    return True if word in TRUE else False if word in FALSE else None


READERS: dict[type, Callable[[Any], Any]] = {str: _string, int: _integer, float: _number, bool: _boolean}


def _into_range(rule: Field, value: Any, tips: list[str]) -> Any:
    """The nearest value that the contract allows; random for a negative seed, as many clients ask for one."""
    if rule.minimum is None:
        return value
    if rule.name == "seed" and value < 0:
        return None
    moved = min(max(value, rule.minimum), rule.maximum)
    if moved != value and SDK_DEFAULTS.get(rule.name) == value:
        tips.append(
            f"{rule.name} was {_shown(value)}, which the Python SDK sends when it is left out; {_shown(rule.default)} is used."
        )
        return rule.default
    if moved != value:
        tips.append(f"{rule.name} was {_shown(value)} and is now {_shown(moved)}.")
    return int(moved) if rule.type is int else moved


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except ValueError:
        text = "a number too long to write"
    return text if len(text) <= 40 else f"{text[:30]}…"
