"""Whose key, and which server: the profiles of the hosted Face Generator.

A key comes from the environment variable MODELSLAB_API_KEY or from a JSON file that only its owner may read:

    {"default": {"key": "…"}, "work": {"key": "…", "family": "enterprise", "base_url": "https://modelslab.com"}}
"""

import functools
import ipaddress
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ...contract import ENDPOINTS, ENTERPRISE, MAKE_GEN, V6, Endpoint
from ...errors import FaceGenError
from .redaction import KeyPattern

KEY_VARIABLE = "MODELSLAB_API_KEY"
DEFAULT = "default"
HOSTED = "https://modelslab.com"
API = "/api"  # before the paths of the contract
# Family of a profile -> the families of endpoints that it uses, the first one that has what is asked for.
FAMILIES = {V6: (V6,), ENTERPRISE: (ENTERPRISE, MAKE_GEN), MAKE_GEN: (MAKE_GEN, ENTERPRISE)}
SETTINGS = {"key", "family", "base_url"}
SHORTEST_KEY = 8  # a shorter one could not be told from ordinary text where answers echo it


class ProfileError(FaceGenError):
    """A profile that can't be used; the message says what to change and never holds a key."""


@dataclass(frozen=True)
class Profile:
    """A key and the server it is for. `source` says where the key is from."""

    name: str
    key: str = field(repr=False)
    family: str = V6
    base_url: str = HOSTED
    source: str = KEY_VARIABLE

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of that name, of ENDPOINT_NAMES, in the profile's family."""
        known = {(endpoint.name, endpoint.family): endpoint for endpoint in ENDPOINTS.values()}
        return next(known[name, family] for family in FAMILIES[self.family] if (name, family) in known)

    def submit_url(self, endpoint: Endpoint) -> str:
        return self.base_url + API + endpoint.path

    def fetch_url(self, endpoint: Endpoint, request_id: int | str) -> str:
        return f"{self.base_url}{API}{endpoint.room}/fetch/{quote(str(request_id), safe='')}"

    def owns(self, url: str) -> bool:
        """Whether the key may be sent to this URL: scheme, host and port are the profile's."""
        try:
            return _origin(url) == _origin(self.base_url)
        except ValueError:
            return False

    def redact(self, value: Any) -> Any:
        """Decoded JSON, or a text, without the key, however a server echoes it."""
        if isinstance(value, str):
            return self._key_pattern.sub("***", value)
        if isinstance(value, Mapping):
            return {self.redact(name): self.redact(item) for name, item in value.items()}
        return [self.redact(item) for item in value] if isinstance(value, (list, tuple)) else value

    @functools.cached_property
    def _key_pattern(self) -> KeyPattern:
        return KeyPattern(self.key)


def names(file: Path) -> list[str]:
    """The profiles to choose from; just the default one where the file can't be read (`load` says why)."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [DEFAULT]
    return [DEFAULT, *sorted(name for name in found if name != DEFAULT)] if isinstance(found, dict) else [DEFAULT]


def load(name: str, file: Path, environ: Mapping[str, str] = os.environ) -> Profile:
    """The profile `name` of the file; `default` needs no file when the environment has a key. Raises ProfileError."""
    profiles = _read(file) if file.exists() else {}
    settings = profiles.get(name)
    if settings is None and name != DEFAULT:
        raise ProfileError(f"There is no profile {name!r} in {file}; it has {', '.join(profiles) or 'none'}.")
    if settings is None:
        settings = {}
    if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
        raise ProfileError(f'{file}: profile {name!r} must be an object of texts, such as {{"key": "…", "family": "v6"}}.')
    if unknown := set(settings) - SETTINGS:
        raise ProfileError(
            f"{file}: profile {name!r} has {', '.join(sorted(unknown))}; known are {', '.join(sorted(SETTINGS))}."
        )
    family = settings.get("family", V6)
    if family not in FAMILIES:
        raise ProfileError(f"{file}: the family of profile {name!r} must be one of {', '.join(FAMILIES)}.")
    base_url = _base_url(settings.get("base_url", HOSTED), f"{file}: base_url of profile {name!r}")
    key, source = (settings["key"], str(file)) if "key" in settings else (environ.get(KEY_VARIABLE, ""), KEY_VARIABLE)
    return Profile(name, _checked_key(key.strip(), source, file), family, base_url, source)


def _checked_key(key: str, source: str, file: Path) -> str:
    if not key:
        raise ProfileError(
            f"No API key is configured, so nothing is sent. Set the environment variable {KEY_VARIABLE} and restart this "
            f'program, or write {{"{DEFAULT}": {{"key": "…"}}}} into {file} and run chmod 600 on it.'
        )
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise ProfileError(
            f"The API key from {source} is not valid. A key has at least {SHORTEST_KEY} plain characters and no spaces."
        )
    return key


def _read(file: Path) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
                raise ProfileError(
                    f"{file} holds API keys and can be read by others (mode {stat.S_IMODE(mode):04o}). Run: chmod 600 '{file}'"
                )
            profiles = json.load(opened)
    except OSError as error:
        raise ProfileError(f"{file} can't be read: {error.strerror}.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ProfileError(f"{file} is not JSON{where}.") from None
    if not isinstance(profiles, dict):
        raise ProfileError(f'{file} must be a JSON object of profiles, such as {{"{DEFAULT}": {{"key": "…"}}}}.')
    return profiles


def _base_url(text: str, what: str) -> str:
    """scheme://host[:port], https unless the host is this machine."""
    wanted = f"{what} must be https://host or https://host:port, without a path."
    try:
        parts = urlsplit(text.strip())
        host, scheme = parts.hostname, _origin(text.strip())[0]
    except ValueError:
        raise ProfileError(wanted) from None
    beside = (parts.path.strip("/"), parts.query, parts.fragment, parts.username, parts.password)
    if not host or any(beside) or scheme not in ("https", "http"):
        raise ProfileError(wanted)
    if scheme == "http" and not _is_loopback(host):
        raise ProfileError(f"{what} must begin with https://; http is for this machine only, as the key would be readable.")
    return f"{parts.scheme.lower()}://{parts.netloc}"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    if parts.username is not None:
        raise ValueError("user information in a URL")
    return parts.scheme.lower(), parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme.lower())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
