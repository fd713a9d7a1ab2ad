"""The Face Generator's requests, stated once: its endpoints, and names, ranges, defaults and descriptions of their fields.

Nodes, command line, local server and remote client read them from here. Source: ModelsLab's public documentation of
`face_gen`, `head_shot` and `flux_headshot`, under `/api/v6` and `/api/v1/enterprise`.
"""

import math
from collections.abc import Iterable, Mapping
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
FACE_GEN, HEAD_SHOT, FLUX_HEADSHOT = "face_gen", "head_shot", "flux_headshot"
V6, ENTERPRISE, MAKE_GEN = "v6", "enterprise", "make_gen"
# Family -> the path below which its endpoints, their results and the like are.
ROOMS = {V6: "/v6/image_editing", ENTERPRISE: "/v1/enterprise/image_editing", MAKE_GEN: "/v1/enterprise/{name}"}
# What a request has in place of a field that its endpoint doesn't know.
WITHOUT: dict[str, Any] = {"style": "", "s_scale": 1.0}


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
    """One valid request to `endpoint`, which is a path of ENDPOINTS. The defaults are those of face_gen; Endpoint.request has
    each endpoint's own. Raises ContractError, naming every field that is outside the contract.
    """

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
    endpoint: str = f"{ROOMS[V6]}/{FACE_GEN}"

    def __post_init__(self) -> None:
        endpoint = ENDPOINTS[self.endpoint]
        problems = {name: rule.problem(getattr(self, name)) for name, rule in endpoint.fields.items()}
        for name in FIELDS.keys() - endpoint.fields.keys():
            if getattr(self, name) != WITHOUT[name]:
                problems[name] = f"{endpoint.name} has no {name} field, got {_shown(getattr(self, name))}."
        errors = {name: [problem] for name, problem in problems.items() if problem}
        if not errors and self.samples > endpoint.most_samples(self.width, self.height):
            errors["samples"] = [f"The samples field must be 1 at {self.width}x{self.height}, got {self.samples}."]
        if errors:
            raise ContractError(errors)

    def as_dict(self) -> dict[str, Any]:
        """The values of the fields that the endpoint has."""
        return {name: value for name, value in asdict(self).items() if name in ENDPOINTS[self.endpoint].fields}


def _describe(f: "DataclassField[Any]") -> Field:
    types = [t for t in get_args(f.type) if t is not type(None)] or [f.type]
    required = f.default is MISSING
    kind = types[0] if len(types) == 1 else tuple(types)
    nullable = type(None) in get_args(f.type)
    return Field(f.name, kind, default=None if required else f.default, required=required, nullable=nullable, **f.metadata)


# Those of face_gen, which are all that there are.
FIELDS: dict[str, Field] = {f.name: _describe(f) for f in fields(FaceGenRequest) if f.metadata}


@dataclass(frozen=True)
class Endpoint:
    """One of the service's ways to ask for portraits, and the fields that it takes, each with its own range and default."""

    name: str
    family: str
    fields: Mapping[str, Field]

    @property
    def room(self) -> str:
        """The path below which its results are fetched."""
        return ROOMS[self.family].format(name=self.name)

    @property
    def path(self) -> str:
        return f"{self.room}/{MAKE_GEN if self.family == MAKE_GEN else self.name}"

    def request(self, **values: Any) -> FaceGenRequest:
        """A request with these values, and this endpoint's defaults of what isn't given. Raises ContractError."""
        defaults = {name: rule.default for name, rule in self.fields.items() if not rule.required}
        absent = {name: value for name, value in WITHOUT.items() if name not in self.fields}
        return FaceGenRequest(**{**absent, **defaults, **values}, endpoint=self.path)

    def most_samples(self, width: int, height: int) -> int:
        """How many pictures of a size, in pixels, it makes at once."""
        most = int(self.fields["samples"].maximum or 1)
        return 1 if self.name != FLUX_HEADSHOT and width * height > MAX_SAMPLES_PIXELS else most


def _endpoint(name: str, family: str, without: Iterable[str] = (), **changes: Mapping[str, Any]) -> Endpoint:
    own = {field: replace(rule, **changes.get(field, {})) for field, rule in FIELDS.items() if field not in without}
    return Endpoint(name, family, own)


_HEAD_SHOT: dict[str, Any] = {"without": {"style"}, "guidance_scale": {"default": 5.0, "maximum": 5}}
_STEPS = {"default": 25, "minimum": 1, "maximum": 26, "description": "Denoising steps."}
_FLUX: dict[str, Any] = {
    "without": {"style", "s_scale"},
    "num_inference_steps": _STEPS,
    "guidance_scale": {"default": 5.5, "maximum": 10, "description": "How closely the prompt is followed."},
    "samples": {"description": "Number of pictures."},
}
_LARGE, _LARGEST = ({"default": 1024, "maximum": most} for most in (1024, 2048))
ENDPOINTS: dict[str, Endpoint] = {
    endpoint.path: endpoint
    for endpoint in (
        _endpoint(FACE_GEN, V6),
        _endpoint(FACE_GEN, ENTERPRISE),
        _endpoint(FACE_GEN, MAKE_GEN, safety_checker_type={"default": NOTICE_TEXT}),
        _endpoint(HEAD_SHOT, V6, **_HEAD_SHOT),
        _endpoint(HEAD_SHOT, ENTERPRISE, **_HEAD_SHOT),
        _endpoint(FLUX_HEADSHOT, V6, **_FLUX, width=_LARGE, height=_LARGE),
        _endpoint(FLUX_HEADSHOT, MAKE_GEN, **_FLUX, width=_LARGEST, height=_LARGEST),
    )
}
# By what they make, in the order of the above.
ENDPOINT_NAMES = tuple(dict.fromkeys(endpoint.name for endpoint in ENDPOINTS.values()))


def known_styles(styles: Iterable[str] = STYLES) -> Field:
    """The style field, of which nothing but these is taken: the service's, or those that there are files of."""
    return replace(FIELDS["style"], choices=tuple(styles), is_open=False)
