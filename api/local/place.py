"""The program that serves the local API, as it tells of itself."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path

from .flavours import FLAVOURS, Flavour


@dataclass(frozen=True)
class Place:
    """Where the API is served, where its files are, and what a user of the program does about it.

    `program` is what messages call it, `listen` are the addresses that it listens on. `folder` holds local_api.json, and in
    local_api/ what was asked and made; `photos` holds each request's photo until its work has ended. `turn_on` and
    `set_token` say how that is done there: the first ends "The API is off: …", the second is a sentence. `is_on`: whether it
    is on as long as the settings don't say. `flavours` are those that are built in. `jobs` and `results` come before the
    settings' entries of these names.
    """

    program: str
    listen: tuple[str, ...]
    port: int
    tls: bool
    folder: Path
    photos: Path
    turn_on: str
    set_token: str
    is_on: bool = False
    flavours: Mapping[str, Flavour] = field(default_factory=lambda: FLAVOURS)
    jobs: str = ""
    results: str = ""

    @cached_property
    def is_loopback(self) -> bool:
        """Whether only this machine can call."""
        return all(_is_loopback(address) for address in self.listen)

    @property
    def url(self) -> str:
        """Where the program can be called from this machine."""
        address = next(filter(_is_loopback, self.listen), self.listen[0])
        if address in ("", "0.0.0.0", "::"):
            address = "127.0.0.1" if address != "::" else "::1"
        host = f"[{address}]" if ":" in address else address
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"


def _is_loopback(address: str) -> bool:
    with contextlib.suppress(ValueError):
        return ip_address(address).is_loopback
    return address == "localhost"


def address_file(folder: Path) -> Path:
    """Where the address of the program is written once the API is on, for whoever wants to ask it; `folder` is Place.folder."""
    return folder / "local_api" / "address"
