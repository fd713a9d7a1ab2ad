"""Which files a request is made with. The API picks a flavour by its name or model_id; the rest of it is for the backend."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from ...contract import STYLES
from .config_values import ConfigError, build, read_object


@dataclass(frozen=True)
class StyleFiles:
    """What a style changes of its flavour: another checkpoint, and LoRAs with their strengths."""

    checkpoint: str | None = None
    loras: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Flavour:
    """A workflow of workflows/api and the files in it; None takes the workflow's own file, or the only one there is.

    `render_scale`: the picture is made this many times as large as asked for, and scaled down.
    `model_id`: requests that name it get this flavour.
    """

    workflow: str
    render_scale: float = 1.0
    model_id: str | None = None
    checkpoint: str | None = None
    faceid: str | None = None
    clip_vision: str | None = None
    face_pack: str | None = None
    safety_checker: str | None = None
    styles: dict[str, StyleFiles] = field(default_factory=dict)


FLAVOURS = {
    "sd15": Flavour("local_sd15"),
    "sdxl": Flavour("local_sdxl", render_scale=2.0, model_id="ai-avatar-generatorface-gen"),
}


def read_flavours(value: Any, where: str, styles: Collection[str] = STYLES) -> dict[str, Flavour]:
    """The built-in flavours and those of a JSON object, which may change single entries of the built-in ones.

    `where` is the file and the entry that messages name, `styles` are those that there are. Raises ConfigError.
    """
    return FLAVOURS | {name: _flavour(name, entry, where, styles) for name, entry in read_object(value, where).items()}


def _flavour(name: str, entry: Any, where: str, styles: Collection[str]) -> Flavour:
    where = f"{where}.{name}"
    if name in FLAVOURS:
        builtin = {key: value for key, value in asdict(FLAVOURS[name]).items() if value is not None}
        entry = {**builtin, **read_object(entry, where)}
    return build(Flavour, entry, where, {dict[str, StyleFiles]: partial(_styles, styles=styles)})


def _styles(value: Any, where: str, styles: Collection[str]) -> dict[str, StyleFiles]:
    entries = read_object(value, where)
    if unknown := set(entries) - set(styles):
        raise ConfigError(f"{where} has {', '.join(sorted(unknown))}; the styles are {', '.join(styles)}.")
    return {style: build(StyleFiles, entry, f"{where}.{style}") for style, entry in entries.items()}
