"""Which files a request is made with. The API picks a flavour by its name or model_id; the rest of it is for the backend."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from ...contract import ENDPOINT_NAMES, FACE_GEN, FLUX_HEADSHOT, HEAD_SHOT, STYLES, FaceGenRequest
from .config_values import ConfigError, build, read_object


@dataclass(frozen=True)
class StyleFiles:
    """What a style changes of its flavour: another checkpoint, and LoRAs with their strengths."""

    checkpoint: str | None = None
    loras: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Flavour:
    """A workflow of workflows/api and the files in it; None takes the workflow's own file, or the only one there is.

    `render_scale`: the picture is made this many times as large as asked for, and scaled to what was asked for.
    `guidance_factor`: of the request's guidance_scale, for a model that needs less of it than others.
    `model_id`: requests that name it get this flavour. `endpoints`: names of those whose requests it can make.
    """

    workflow: str
    render_scale: float = 1.0
    guidance_factor: float = 1.0
    model_id: str | None = None
    endpoints: tuple[str, ...] = (FACE_GEN, HEAD_SHOT)
    checkpoint: str | None = None
    faceid: str | None = None
    clip_vision: str | None = None
    face_pack: str | None = None
    safety_checker: str | None = None
    styles: dict[str, StyleFiles] = field(default_factory=dict)


# In the order in which they are tried where the settings choose none. The last one needs no files.
FLAVOURS = {
    "sd15": Flavour("local_sd15"),
    "sdxl": Flavour("local_sdxl", render_scale=2.0, model_id="ai-avatar-generatorface-gen"),
    "tiny": Flavour("local_tiny", render_scale=0.25, guidance_factor=0.27),
}
TINY = "tiny"
# Where FLUX.1 is there, for a program that makes pictures with it by itself.
FLAVOURS_WITH_FLUX = {**FLAVOURS, "flux": Flavour("local_flux", endpoints=(FLUX_HEADSHOT,))}
FIRST = {HEAD_SHOT: "sdxl"}  # what the service makes these with
LEAST_SIDE = 256  # pixels: models that make smaller pictures than asked for were trained on these
MOST_STRENGTH = 100  # of a LoRA
RANGES = {"render_scale": (0.1, 8.0), "guidance_factor": (0.1, 2.0)}


def read_flavours(
    value: Any, where: str, styles: Collection[str] = STYLES, usual: Mapping[str, Flavour] = FLAVOURS
) -> dict[str, Flavour]:
    """The built-in flavours, `usual`, and those of a JSON object, which may change single entries of the built-in ones.

    `where` is the file and the entry that messages name, `styles` are those that there are. Raises ConfigError.
    """
    read = {name: _flavour(name, entry, where, styles, usual) for name, entry in read_object(value, where).items()}
    flavours = {**usual, **read}
    ids = [flavour.model_id for flavour in flavours.values() if flavour.model_id]
    if twice := {model_id for model_id in ids if ids.count(model_id) > 1}:
        raise ConfigError(f"{where}: several flavours have the model_id {', '.join(sorted(twice))}.")
    return flavours


def fitting(endpoint: str, flavours: Mapping[str, Flavour]) -> dict[str, Flavour]:
    """Those that can make an endpoint's requests, in the order in which they are tried."""
    can = {name: flavour for name, flavour in flavours.items() if endpoint in flavour.endpoints}
    return {name: can[name] for name in sorted(can, key=lambda name: name != FIRST.get(endpoint))}


def made_size(flavour: Flavour, request: FaceGenRequest) -> tuple[int, int]:
    """The width and height in which a flavour makes a request's pictures, before they are scaled to what was asked for."""
    scale = flavour.render_scale
    if scale < 1:
        scale = min(1.0, max(scale, LEAST_SIDE / min(request.width, request.height)))
    if scale == 1:
        return request.width, request.height
    width, height = (round(side * scale / 8) * 8 for side in (request.width, request.height))
    return width, height


def made_guidance(flavour: Flavour, request: FaceGenRequest) -> float:
    """The guidance scale that a flavour's model is given for a request."""
    return max(1.0, request.guidance_scale * flavour.guidance_factor)


def _flavour(name: str, entry: Any, where: str, styles: Collection[str], usual: Mapping[str, Flavour]) -> Flavour:
    where = f"{where}.{name}"
    if name in usual:
        builtin = {key: value for key, value in asdict(usual[name]).items() if value is not None}
        builtin["endpoints"] = list(usual[name].endpoints)
        entry = {**builtin, **read_object(entry, where)}
    flavour = build(Flavour, entry, where, {dict[str, StyleFiles]: partial(_styles, styles=styles)})
    flavour = replace(flavour, workflow=flavour.workflow.removesuffix(".json"))
    if unknown := set(flavour.endpoints) - set(ENDPOINT_NAMES):
        raise ConfigError(f"{where}.endpoints has {', '.join(sorted(unknown))}; known are {', '.join(ENDPOINT_NAMES)}.")
    for entry, (least, most) in RANGES.items():
        if not least <= (value := getattr(flavour, entry)) <= most:
            raise ConfigError(f"{where}.{entry} is {value}; it must be from {least} to {most}.")
    return flavour


def _styles(value: Any, where: str, styles: Collection[str]) -> dict[str, StyleFiles]:
    entries = read_object(value, where)
    if unknown := set(entries) - set(styles):
        raise ConfigError(f"{where} has {', '.join(sorted(unknown))}; the styles are {', '.join(styles)}.")
    files = {style: build(StyleFiles, entry, f"{where}.{style}") for style, entry in entries.items()}
    for style, entry in files.items():
        if wild := [lora for lora, strength in entry.loras.items() if not abs(strength) <= MOST_STRENGTH]:
            raise ConfigError(
                f"{where}.{style}.loras: the strength of {wild[0]} must be from -{MOST_STRENGTH} to {MOST_STRENGTH}."
            )
    return files
