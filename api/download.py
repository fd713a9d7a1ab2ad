"""Guarded requests to URLs that somebody else chose: a photo to fetch, a webhook to call.

A URL is a way to make this machine talk to its own neighbours (server-side request forgery, CWE-918), so every address that
a name resolves to is checked, the connection goes to just those addresses, and each redirect is checked anew.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ..errors import FaceGenError, printable
from .hosts import Hosts, IPAddress
from .links import join_link, read_link

SCHEMES = ("http", "https")
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK = 1 << 16
LOOK_UP_SECONDS = 5.0
HEADERS = {"User-Agent": "ComfyUI-FaceGen", "Accept-Encoding": "identity"}  # a compressed body could unfold to any size
# Addresses that some versions of Python call global and that still reach into the machine's surroundings (IANA's registries
# of special-purpose addresses).
NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's host
        "192.0.0.0/24",  # IETF protocol assignments; Oracle's metadata
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # IETF protocol assignments; Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
T = TypeVar("T")


class DownloadError(FaceGenError):
    """A URL could not be fetched or called; the message names its host and never its query."""


class RefusedURL(DownloadError):
    """A URL that is not requested at all, because of what it is or where it leads."""


class PrivateURL(RefusedURL):
    """A URL that leads to an address which is neither public nor allowed."""


@dataclass(frozen=True)
class Limits:
    """Caps on one request, redirects included: bytes of the answer, seconds, number of redirects."""

    bytes: int = 20 << 20
    seconds: float = 30.0
    redirects: int = 3


class Guard:
    """Decides where requests may go: public addresses, and what `allow` names. Raises ValueError as Hosts, which reads it."""

    def __init__(self, allow: Iterable[str] = ()):
        self._allowed = Hosts(allow)

    def check_url(self, text: str) -> URL:
        """What read_link makes of it, if it is http(s), without credentials, and may be reached as far as the text shows."""
        try:
            url = read_link(text)
            host, _ = url.host, url.port
        except ValueError as error:
            raise RefusedURL("That is not a URL.") from error
        if url.scheme not in SCHEMES or not host:
            raise RefusedURL("Only http and https URLs can be used.")
        if url.user is not None or url.password is not None:
            raise RefusedURL(f"The URL of {printable(host)} holds a user name or a password; those are not sent.")
        if self._allowed.has_name(host):
            return url
        if _is_address(bare := host.partition("%")[0]):
            self.check_address(host, bare)
        elif _reads_as_number(host):
            raise RefusedURL(f"{printable(host)} is not the usual way to write an address.")
        return url

    def check_address(self, host: str, address: str) -> None:
        """Raises RefusedURL if `host` may not be reached at `address`, ValueError if that is no IP address."""
        ip = ipaddress.ip_address(address)
        if not self._allowed.has_name(host) and not self._allowed.has_address(ip) and not is_public(ip):
            raise PrivateURL(f"{printable(host)} is not a public address, so nothing is sent there.")

    async def check_name(self, text: str, seconds: float = LOOK_UP_SECONDS) -> None:
        """As check_url, and look up where the host's name leads. Raises DownloadError if that can't be told now."""
        host = self.check_url(text).raw_host or ""
        if self._allowed.has_name(host) or _is_address(host.partition("%")[0]):
            return
        resolver = GuardedResolver(self)
        try:
            await asyncio.wait_for(resolver.resolve(host, family=socket.AF_UNSPEC), seconds)
        except (asyncio.TimeoutError, TimeoutError, OSError) as error:
            raise DownloadError(f"{printable(host)} can't be found.") from error
        finally:
            await resolver.close()


def is_public(ip: IPAddress) -> bool:
    """Whether an address is on the public internet and does not wrap one that isn't."""
    if ip in NAT64:
        return is_public(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    if ip.version == 6 and ip not in GLOBAL_UNICAST:  # this leaves out IPv4-mapped and IPv4-compatible addresses, too
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in NEVER)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _reads_as_number(host: str) -> bool:
    """Whether a resolver may take the host for an IPv4 address in decimal, octal or hexadecimal (WHATWG URL, 3.5)."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    return last.isdigit() or last.startswith("0x")


class GuardedResolver(AbstractResolver):
    """Resolves a name and refuses it if any of its addresses may not be reached."""

    def __init__(self, guard: Guard):
        self._guard = guard
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for entry in found:
            self._guard.check_address(host, entry["host"].partition("%")[0])
        return found

    async def close(self) -> None:
        await self._resolver.close()


def guarded_session(guard: Guard) -> aiohttp.ClientSession:
    """A session whose every connection passes the guard; pass each URL through guard.check_url first.

    No proxy of the environment is used: it would resolve the name once more, unguarded.
    """
    connector = aiohttp.TCPConnector(resolver=GuardedResolver(guard), use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector, headers=HEADERS, auto_decompress=False, trust_env=False)


async def download(url: str, limits: Limits = Limits(), allow: Iterable[str] = ()) -> bytes:
    """The body behind an http(s) URL. `allow` names hosts, addresses and networks that may be reached though not public.

    Raises RefusedURL for a URL that isn't requested, DownloadError if it can't be had within the limits.
    """
    guard = Guard(allow)

    async def follow() -> bytes:
        current = guard.check_url(url)
        async with guarded_session(guard) as session:
            for _ in range(limits.redirects + 1):
                async with session.get(current, allow_redirects=False) as answer:
                    if answer.status not in REDIRECTS or "Location" not in answer.headers:
                        return await _read(answer, limits)
                    current = guard.check_url(join_link(current, answer.headers["Location"]))
        raise DownloadError(f"{printable(current.host)} redirects more than {limits.redirects} times.")

    return await _within(follow(), url, limits)


async def post(url: str, body: bytes, headers: Mapping[str, str], limits: Limits = Limits(), allow: Iterable[str] = ()) -> int:
    """POST `body` to a URL and return the HTTP status; redirects are not followed. Raises as `download` does."""
    guard = Guard(allow)

    async def send() -> int:
        async with (
            guarded_session(guard) as session,
            session.post(guard.check_url(url), data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status

    return await _within(send(), url, limits)


async def _within(request: Coroutine[None, None, T], url: str, limits: Limits) -> T:
    try:
        return await asyncio.wait_for(request, limits.seconds)
    except DownloadError:  # a ValueError, too, and said already
        raise
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise DownloadError(f"{_shown(url)} did not answer within {limits.seconds:g} seconds.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise DownloadError(f"{_shown(url)} can't be reached or broke off ({type(error).__name__}).") from error


async def _read(answer: aiohttp.ClientResponse, limits: Limits) -> bytes:
    host = printable(answer.url.host)
    if answer.status != 200:
        raise DownloadError(f"{host} answers {answer.status}.")
    too_long = DownloadError(f"{host} sends more than {limits.bytes >> 20} MB.")
    if (answer.content_length or 0) > limits.bytes:
        raise too_long
    body = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > limits.bytes:
            raise too_long
    return bytes(body)


def _shown(url: str) -> str:
    try:
        return printable(read_link(url).host or "The URL")
    except ValueError:
        return "The URL"
