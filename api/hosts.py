"""Which hosts an entry of the settings means: a name, a name with all below it, an address, or a network."""

import ipaddress
import re
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
WITH_PORT = re.compile(r"(\[.*\]|[^:]*):\d*")


class Hosts:
    """The hosts that `entries` mean: `nas.local`, `*.example.org` (all names below it), `192.168.1.7`, `192.168.1.0/24`.

    A network may be written with any address in it. Raises ValueError, which says what is wrong with an entry.
    """

    def __init__(self, entries: Iterable[str] = ()):
        self._names: set[str] = set()
        self._above: set[str] = set()
        self._networks: list[IPNetwork] = []
        for entry in entries:
            self._add(entry)

    def _add(self, entry: str) -> None:
        text = entry.strip()
        try:
            self._networks.append(ipaddress.ip_network(text.removeprefix("[").removesuffix("]"), strict=False))
            return
        except ValueError:
            pass
        name = ascii_name(text)
        if problem := _problem(text, name):
            raise ValueError(f"{entry!r} {problem}")
        (self._above if name.startswith("*.") else self._names).add(name.removeprefix("*."))

    def has_name(self, host: str) -> bool:
        """Whether a host, as a URL writes it, is meant by name."""
        name = ascii_name(host)
        return name in self._names or any(name.endswith(f".{above}") for above in self._above)

    def has_address(self, ip: IPAddress) -> bool:
        """Whether an address is meant as such, or as part of a network."""
        return any(ip in network for network in self._networks)


def ascii_name(host: str) -> str:
    """A host's name as DNS has it: in lower case, beyond ASCII as xn--…, without a dot at its end."""
    name = host.lower().rstrip(".")
    if name.isascii():
        return name
    from yarl import URL  # here: the settings are read where there is no HTTP library, too

    try:
        return URL.build(scheme="http", host=name).raw_host or name
    except ValueError:
        return name


def _problem(text: str, name: str) -> str | None:
    if not text:
        return "is empty; leave it out."
    if "://" in text:
        return "is a URL; write the host alone, such as nas.local."
    if "/" in text:
        return "is no network; write one as 192.168.1.0/24."
    if WITH_PORT.fullmatch(text):
        return "has a port; write the host alone, which means all of its ports."
    if not NAME.fullmatch(name):
        return "is no host; write a name, *.NAME, an address or a network."
    return None
