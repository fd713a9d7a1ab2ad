"""The local API's settings: one JSON file among the user's own, readable by its owner alone.

    {
      "enabled": true,
      "token": "…",                       needed to listen beyond this machine; FACEGEN_API_TOKEN in its place
      "tokens": {"anna": "…",             one for each client; a request is seen by whoever made it
                 "website": {"token": "…", "max_queued": 5, "pictures_a_day": 200}},
      "default": "sd15",                  the flavour of requests that ask for none
      "flavours": {
        "sd15": {"checkpoint": "….safetensors", "faceid": "….bin", "clip_vision": "….safetensors", "face_pack": "buffalo_l",
                 "safety_checker": "nudenet",
                 "styles": {"anime": {"checkpoint": "….safetensors", "loras": {"….safetensors": 0.8}}}},
        "sdxl": {"model_id": "ai-avatar-generatorface-gen"}
      },
      "allowed_hosts": ["nas.local", "192.168.1.0/24"],   photos and webhooks beyond the public internet
      "served_as": ["faces.example.org"],                 names under which clients may call this machine
      "proxies": ["127.0.0.0/8", "::1"],                  whose X-Forwarded-Proto and X-Forwarded-Host are believed
      "max_queued": 20, "keep_hours": 24, "hold_seconds": 25, "poll_seconds": 10,
      "webhook_secret": "whsec_…",                        made when the API is first turned on
      "jobs": "postgresql://…", "results": "s3://…",      for several fronts, see docs/scale.md
      "lease_seconds": 15,
      "comfyui_tokens": {"https://gpu1.example:8443": "…"}   what `serve --comfyui` sends them, see docs/scale.md
    }

Every entry may be left out.
"""

import base64
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ...atomic_write import atomic_write
from ...contract import STYLES
from ..hosts import Hosts
from .config_values import ConfigError as ConfigError
from .config_values import Readers, build
from .flavours import FLAVOURS, FLAVOURS_WITH_FLUX, Flavour, read_flavours
from .tokens import MIN_TOKEN, Token, read_tokens

TOKEN_VARIABLE = "FACEGEN_API_TOKEN"
# Results are kept longer than a request for them, or a webhook that is repeated, may take.
RANGES = {
    "max_queued": (1, 10_000),
    "keep_hours": (0.1, 24 * 366),
    "hold_seconds": (0, 3600),
    "poll_seconds": (0, 3600),
    "lease_seconds": (1, 600),
}
HOST_LISTS = ("allowed_hosts", "served_as", "proxies")
LOOK = 0.001  # seconds within which a busy server doesn't look for the file again
SECRET = re.compile(r"whsec_([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@dataclass(frozen=True)
class LocalConfig:
    """What is set, or the default of what isn't; the entries are described in docs/local-api.md."""

    enabled: bool = False
    token: str | None = field(default=None, repr=False)
    tokens: dict[str, Token] = field(default_factory=dict)
    default: str | None = None
    flavours: dict[str, Flavour] = field(default_factory=lambda: dict(FLAVOURS))
    allowed_hosts: tuple[str, ...] = ()
    served_as: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ("127.0.0.0/8", "::1")
    max_queued: int = 20
    keep_hours: float = 24.0
    hold_seconds: float = 25.0
    poll_seconds: float = 10.0
    webhook_secret: str | None = None
    jobs: str = field(default="", repr=False)
    results: str = ""
    lease_seconds: float = 15.0
    comfyui_tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def known_tokens(self) -> dict[str, str]:
        """Whose requests a token's are -> the token. Those of `token` are nobody's by name, as without any token."""
        named = {name: client.token for name, client in self.tokens.items()}
        return {**named, **({"": self.token} if self.token else {})}

    def rights(self, owner: str) -> Token:
        """The limits of whoever a token belongs to; `token`, and whoever needs none, has only those of all."""
        return self.tokens.get(owner, Token(""))

    @property
    def chooses_flavour(self) -> bool:
        """Whether nothing is set of which files a request is made with."""
        return self.default is None and self.flavours in (FLAVOURS, FLAVOURS_WITH_FLUX)

    def flavour_of(self, model_id: Any) -> str | None:
        """The name of the flavour that a request's model_id means: by the flavour's own model_id, or by its name."""
        if not isinstance(model_id, str):
            return None
        named = (name for name, flavour in self.flavours.items() if flavour.model_id == model_id)
        return next(named, model_id if model_id in self.flavours else None)


class ConfigFile:
    """The file, read anew whenever it has changed. `last` is what could be read last; `styles` names those that there are."""

    def __init__(
        self,
        path: Path,
        styles: Callable[[], Collection[str]] = lambda: STYLES,
        is_on: bool = False,
        flavours: Mapping[str, Flavour] = FLAVOURS,
    ):
        """`is_on`: whether the API is on where the file doesn't say. `flavours`: those that are built in."""
        self._name = str(path)  # looked at with each call
        self.path, self._styles, self._usual = path, styles, LocalConfig(enabled=is_on, flavours=dict(flavours))
        self.last = self._usual
        self._seen: tuple[int, int, str | None] | None = None
        self._again = 0.0  # when recent() reads next

    def read(self) -> LocalConfig:
        """Raises ConfigError if the file can't be used. No file is the same as an empty one."""
        try:
            found = os.stat(self._name)
        except FileNotFoundError:
            self._seen, self.last = None, _with_token(self._usual, self.path)
            return self.last
        seen = (found.st_mtime_ns, found.st_size, os.environ.get(TOKEN_VARIABLE))
        if seen != self._seen:
            config = self._parse(self._load())
            holds_secrets = config.token or config.tokens or config.jobs or config.comfyui_tokens
            if holds_secrets and os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
                raise ConfigError(f"{self.path} holds a token or a database's URL, and can be read by others: chmod 600 it.")
            self.last, self._seen = _with_token(config, self.path), seen
        return self.last

    def recent(self) -> LocalConfig:
        """What read() gives, or gave within the last LOOK: to look costs as much as all other checks of a call together."""
        if (now := time.monotonic()) >= self._again:
            self.read()
            self._again = now + LOOK
        return self.last

    def enable(self, enabled: bool) -> LocalConfig:
        """Turn the API on or off; the file's other entries are kept."""
        content = self._load() if self.path.exists() else {}
        content["enabled"] = enabled
        if enabled:
            content.setdefault("webhook_secret", new_secret())
        self._parse(content)
        atomic_write(self.path, json.dumps(content, indent=2).encode())  # 0600
        return self.read()

    def _parse(self, content: dict[str, Any]) -> LocalConfig:
        content = {"enabled": self._usual.enabled, "flavours": {}, **content}
        return _parse(content, self.path, partial(read_flavours, styles=self._styles(), usual=self._usual.flavours))

    def _load(self) -> dict[str, Any]:
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
    token = (os.environ.get(TOKEN_VARIABLE) or config.token or "").strip()  # a line end from a file is no part of it
    if token and len(token) < MIN_TOKEN:
        raise ConfigError(
            f"The local API's token ({TOKEN_VARIABLE}, or token in {path}) has fewer than {MIN_TOKEN} characters."
        )
    if short := [name for name, client in config.tokens.items() if len(client.token) < MIN_TOKEN]:
        raise ConfigError(f"{path}: the tokens of {', '.join(short)} have fewer than {MIN_TOKEN} characters.")
    if "" in config.tokens:
        raise ConfigError(f"{path}: tokens has one without a name.")
    config = replace(config, token=token or None)
    if len(set(config.known_tokens.values())) < len(config.known_tokens):
        raise ConfigError(f"{path}: two of the tokens are the same; give each client its own.")
    return config


def _parse(content: dict[str, Any], path: Path, flavours: Callable[[Any, str], dict[str, Flavour]]) -> LocalConfig:
    readers: Readers = {dict[str, Flavour]: flavours, dict[str, Token]: read_tokens}
    config = build(LocalConfig, content, str(path), readers)
    if config.default is not None and config.default not in config.flavours:
        raise ConfigError(f"{path}: default is {config.default!r}; flavours has {', '.join(config.flavours)}.")
    for name, (least, most) in RANGES.items():
        if not least <= getattr(config, name) <= most:
            raise ConfigError(f"{path}: {name} is {getattr(config, name)}; it must be at least {least} and at most {most}.")
    for name in HOST_LISTS:
        try:
            Hosts(getattr(config, name))
        except ValueError as error:
            raise ConfigError(f"{path}: {name} has {error}") from None
    if config.webhook_secret is not None and not SECRET.fullmatch(config.webhook_secret):
        raise ConfigError(f"{path}: webhook_secret must be whsec_ and the base64 of 24 to 64 bytes.")
    return config
