"""The Face Generator's request, stated once: names, ranges, defaults and descriptions of its fields.

Nodes, command line, local server and remote client read them from here. Source: ModelsLab's public documentation of
`/api/v6/image_editing/face_gen` and `/api/v1/enterprise/image_editing/face_gen`.
"""

import math
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from dataclasses import Field as DataclassField
from typing import Any, get_args

from .errors import FaceGenError

STYLES = ("realistic", "anime", "3d", "chibi", "comic")
OF_THE_ANSWER = {"base64", "webhook", "track_id"}  # fields that say how a service answers, and nothing of the picture
BLACK, BLUR, PIXELATE, NOTICE_TEXT = "black", "blur", "pixelate", "sensitive_content_text"
SAFETY_CHECKER_TYPES = (BLACK, BLUR, PIXELATE, NOTICE_TEXT)
TYPE_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}
MAX_SAMPLES_PIXELS = 512 * 512  # above this the service makes one sample


class ContractError(FaceGenError):
    """A request outside the contract. `errors` maps a field's name to what is wrong with it."""

    def __init__(self, errors: dict[str, list[str]]):
        self.errors = errors
        super().__init__(" ".join(message for messages in errors.values() for message in messages))


@dataclass(frozen=True)
class Field:
    """What the contract says of one field; `type` is str, int, float, bool or a tuple of these.

    `choices` are the documented values. Where `is_open`, whoever makes the pictures may know others, and checks that.
    """

    name: str
    type: type | tuple[type, ...]
    description: str
    default: Any = None
    required: bool = False
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: int | None = None
    choices: tuple[str, ...] = ()
    is_open: bool = False

    def problem(self, value: Any) -> str | None:
        """What is wrong with `value`, as a sentence; None when it is within the contract."""
        if value is None:
            return None if self.nullable else f"The {self.name} field is required."
        if not self._fits_type(value):
            return f"The {self.name} field must be of type {self._type_name()}, got {_shown(value)}."
        if (self.required or self.is_open) and not value.strip():
            return f"The {self.name} field is required."
        if self.choices and not self.is_open and value not in self.choices:
            return f"The {self.name} field must be one of {', '.join(self.choices)}, got {_shown(value)}."
        if self.minimum is not None and self.maximum is not None and not self.minimum <= value <= self.maximum:
            low, high = (int(limit) if limit == int(limit) else limit for limit in (self.minimum, self.maximum))
            return f"The {self.name} field must be between {low} and {high}, got {_shown(value)}."
        if self.multiple_of and value % self.multiple_of:
            return f"The {self.name} field must be a multiple of {self.multiple_of}, got {value}."
        return None

    def _fits_type(self, value: Any) -> bool:
        if isinstance(value, bool):
            return self.type is bool
        if self.type is float:
            return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        return isinstance(value, self.type)

    def _type_name(self) -> str:
        return " or ".join(TYPE_NAMES[t] for t in (self.type if isinstance(self.type, tuple) else (self.type,)))


def _shown(value: Any) -> str:
    """The value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "a number too long to write"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def _field(description: str, default: Any = MISSING, **rules: Any) -> Any:
    return field(default=default, metadata={"description": description, **rules})


@dataclass(frozen=True)
class FaceGenRequest:
    """One valid request. Raises ContractError, naming every field that is outside the contract."""

    prompt: str = _field("What the picture should show.")
    face_image: str = _field(
        "Photo of the face, clear and visible down to the shoulders: a file, an http(s) URL or a data URI."
    )
    negative_prompt: str = _field("What the picture should not show.", "")
    width: int = _field("Width in pixels.", 512, minimum=64, maximum=512, multiple_of=8)
    height: int = _field("Height in pixels.", 512, minimum=64, maximum=768, multiple_of=8)
    num_inference_steps: int = _field("Denoising steps; the service accepts 21, 31 and 41.", 31, minimum=21, maximum=41)
    guidance_scale: float = _field("Scale of classifier-free guidance.", 7.5, minimum=1, maximum=20)
    style: str = _field("Style of the picture.", "realistic", choices=STYLES, is_open=True)
    s_scale: float = _field("Weight of the face's structure.", 1.0, minimum=0, maximum=2)
    samples: int = _field("Number of pictures; only one if larger than 512x512 pixels.", 1, minimum=1, maximum=2)
    safety_checker: bool = _field("Check the pictures and redact unsafe ones.", True)
    safety_checker_type: str = _field("How an unsafe picture is redacted.", BLACK, choices=SAFETY_CHECKER_TYPES)
    base64: bool = _field("Return pictures as base64 instead of URLs.", False)
    seed: int | None = _field("Seed of the noise; leave it out for a random one.", None, minimum=0, maximum=2**64 - 1)
    webhook: str | None = _field("URL that is called when the pictures are done.", None)
    track_id: str | int | None = _field("Returned with the webhook call.", None)

    def __post_init__(self) -> None:
        problems = {name: rule.problem(getattr(self, name)) for name, rule in FIELDS.items()}
        errors = {name: [problem] for name, problem in problems.items() if problem}
        if not errors and self.samples > 1 and self.width * self.height > MAX_SAMPLES_PIXELS:
            errors["samples"] = [f"The samples field must be 1 at {self.width}x{self.height}, got {self.samples}."]
        if errors:
            raise ContractError(errors)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _describe(f: "DataclassField[Any]") -> Field:
    types = [t for t in get_args(f.type) if t is not type(None)] or [f.type]
    required = f.default is MISSING
    kind = types[0] if len(types) == 1 else tuple(types)
    nullable = type(None) in get_args(f.type)
    return Field(f.name, kind, default=None if required else f.default, required=required, nullable=nullable, **f.metadata)


FIELDS: dict[str, Field] = {f.name: _describe(f) for f in fields(FaceGenRequest)}


def known_styles(styles: Iterable[str] = STYLES) -> Field:
    """The style field, of which nothing but these is taken: the service's, or those that there are files of."""
    return replace(FIELDS["style"], choices=tuple(styles), is_open=False)
