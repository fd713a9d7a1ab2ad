"""The local API's settings: one JSON file in ComfyUI's user folder, readable by its owner alone.

    {
      "enabled": true,
      "token": "…",                       needed to listen beyond this machine; FACEGEN_API_TOKEN in its place
      "default": "sd15",                  the flavour of requests that ask for none
      "flavours": {
        "sd15": {"checkpoint": "….safetensors", "faceid": "….bin", "clip_vision": "….safetensors", "face_pack": "buffalo_l",
                 "safety_checker": "nudenet",
                 "styles": {"anime": {"checkpoint": "….safetensors", "loras": {"….safetensors": 0.8}}}},
        "sdxl": {"model_id": "ai-avatar-generatorface-gen"}
      },
      "allowed_hosts": ["nas.local", "192.168.1.0/24"],   photos and webhooks beyond the public internet
      "served_as": ["faces.example.org"],                 names under which clients may call this machine
      "max_queued": 20, "keep_hours": 24, "hold_seconds": 25, "poll_seconds": 10,
      "webhook_secret": "whsec_…"                         made when the API is first turned on
    }

Every entry may be left out.
"""

import base64
import json
import os
import re
import secrets
import stat
import tempfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ...contract import STYLES

TOKEN_VARIABLE = "FACEGEN_API_TOKEN"
MIN_TOKEN = 16
# Results are kept longer than a request for them, or a webhook that is repeated, may take.
LEAST = {"max_queued": 1, "keep_hours": 0.1, "hold_seconds": 0, "poll_seconds": 0}
SECRET = re.compile(r"whsec_([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class ConfigError(ValueError):
    """The settings can't be used; the message names the file and the entry."""


@dataclass(frozen=True)
class StyleFiles:
    """What a style changes of its flavour: another checkpoint, and LoRAs with their strengths."""

    checkpoint: str | None = None
    loras: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Flavour:
    """A workflow of workflows/api and the files in it; None takes the workflow's own file, or the only one there is.

    `render_scale`: the picture is drawn this many times as large as asked for, and scaled down.
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


@dataclass(frozen=True)
class LocalConfig:
    enabled: bool = False
    token: str | None = None
    default: str = "sd15"
    flavours: dict[str, Flavour] = field(default_factory=lambda: dict(FLAVOURS))
    allowed_hosts: tuple[str, ...] = ()
    served_as: tuple[str, ...] = ()
    max_queued: int = 20
    keep_hours: float = 24.0
    hold_seconds: float = 25.0
    poll_seconds: float = 10.0
    webhook_secret: str | None = None

    def flavour(self, model_id: Any) -> Flavour:
        """The flavour whose model_id a request names, else the default one."""
        named = (flavour for flavour in self.flavours.values() if flavour.model_id and flavour.model_id == model_id)
        return next(named, self.flavours[self.default])


class ConfigFile:
    """The file, read anew whenever it has changed. `last` is what could be read last."""

    def __init__(self, path: Path):
        self.path = path
        self.last = LocalConfig()
        self._seen = None

    def read(self) -> LocalConfig:
        """Raises ConfigError if the file can't be used. No file is the same as an empty one."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._seen, self.last = None, _with_token(LocalConfig(), self.path)
            return self.last
        seen = (found.st_mtime_ns, found.st_size, os.environ.get(TOKEN_VARIABLE))
        if seen != self._seen:
            config = _parse(self._load(), self.path)
            if config.token and os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
                raise ConfigError(f"{self.path} holds a token and can be read by others: chmod 600 it.")
            self.last, self._seen = _with_token(config, self.path), seen
        return self.last

    def enable(self, enabled: bool) -> LocalConfig:
        """Turn the API on or off; the file's other entries are kept."""
        content = self._load() if self.path.exists() else {}
        content["enabled"] = enabled
        if enabled:
            content.setdefault("webhook_secret", new_secret())
        _parse(content, self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, suffix=".tmp")  # 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
            os.replace(temporary, self.path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        return self.read()

    def _load(self) -> dict:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path} can't be read as JSON: {error}") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{self.path} must hold a JSON object.")
        return content


def new_secret() -> str:
    """A key for signing webhooks, as Standard Webhooks writes them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def _with_token(config: LocalConfig, path: Path) -> LocalConfig:
    token = os.environ.get(TOKEN_VARIABLE) or config.token
    if token and len(token) < MIN_TOKEN:
        raise ConfigError(
            f"The local API's token ({TOKEN_VARIABLE}, or token in {path}) has fewer than {MIN_TOKEN} characters."
        )
    return replace(config, token=token or None)


def _parse(content: dict, path: Path) -> LocalConfig:
    config = _build(LocalConfig, content, str(path))
    if config.default not in config.flavours:
        raise ConfigError(f"{path}: default is {config.default!r}; flavours has {', '.join(config.flavours)}.")
    for name, least in LEAST.items():
        if not getattr(config, name) >= least:
            raise ConfigError(f"{path}: {name} is {getattr(config, name)}; it must be at least {least}.")
    if config.webhook_secret is not None and not SECRET.fullmatch(config.webhook_secret):
        raise ConfigError(f"{path}: webhook_secret must be whsec_ and the base64 of 24 to 64 bytes.")
    return config


def _build(kind: type, content: Any, where: str):
    """A settings object from JSON values, each checked against its field's type."""
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must be a JSON object.")
    known = get_type_hints(kind)
    if unknown := set(content) - {f.name for f in fields(kind)}:
        raise ConfigError(f"{where} has {', '.join(sorted(unknown))}; known are {', '.join(known)}.")
    values = {name: _value(known[name], value, f"{where}: {name}") for name, value in content.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where} lacks an entry: {error}") from error


def _value(kind: Any, value: Any, where: str):
    if kind == dict[str, Flavour]:
        return FLAVOURS | {name: _flavour(name, entry, where) for name, entry in _object(value, where).items()}
    if kind == dict[str, StyleFiles]:
        if unknown := set(_object(value, where)) - set(STYLES):
            raise ConfigError(f"{where} has {', '.join(sorted(unknown))}; the styles are {', '.join(STYLES)}.")
        return {style: _build(StyleFiles, entry, f"{where}.{style}") for style, entry in value.items()}
    if kind == dict[str, float]:
        return {name: _value(float, strength, f"{where}.{name}") for name, strength in _object(value, where).items()}
    if kind == tuple[str, ...]:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list, not {json.dumps(value)[:60]}.")
        return tuple(_value(str, entry, where) for entry in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    allowed = get_args(kind) or (kind,)
    if type(value) not in allowed:
        wanted = " or ".join("null" if t is type(None) else t.__name__ for t in allowed)
        raise ConfigError(f"{where} must be {wanted}, not {json.dumps(value)[:60]}.")
    return value


def _flavour(name: str, entry: Any, where: str) -> Flavour:
    where = f"{where}.{name}"
    if name in FLAVOURS:
        builtin = {key: value for key, value in asdict(FLAVOURS[name]).items() if value is not None}
        entry = {**builtin, **_object(entry, where)}
    return _build(Flavour, entry, where)


def _object(value: Any, where: str) -> dict:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a JSON object.")
    return value
