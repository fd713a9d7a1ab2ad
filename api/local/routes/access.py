"""Who may call the local API: nobody while it is off, this machine, or whoever knows a token."""

import codecs
import contextlib
import hmac
import json
import socket
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from aiohttp import web
from multidict import istr
from yarl import URL

from ....errors import FaceGenError, printable
from ...hosts import Hosts
from ...response import ERROR, FaceGenResponse
from ..backend import without_folders
from ..config import ConfigError, ConfigFile, LocalConfig
from ..place import Place

# Whoever passes a request on says so with one of these.
FORWARDED = tuple(map(istr, ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")))
MOST_OF_A_NAME = 300  # characters of a Host header; names have at most 253
UNPROVEN_BODY = 64 << 10  # bytes up to which a body is decoded to look for its key
WRONG_KEY = "The key is not a token of this machine."
NO_KEY = "A token of this machine is needed, as key or in a Bearer header."


class Refused(FaceGenError):
    """A request that is answered with an HTTP status other than 200."""

    def __init__(self, status: int, message: str, retry_after: int | None = None):
        self.status, self.retry_after = status, retry_after
        super().__init__(message)

    def answer(self) -> web.Response:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        body = FaceGenResponse(ERROR, message=without_folders(str(self)), retry_after=self.retry_after).as_dict()
        return web.json_response(body, status=self.status, headers=headers)


@dataclass(frozen=True)
class Caller:
    """Who calls: `origin` is the scheme and host that was called, `is_local` whether it was surely from this machine."""

    origin: str
    is_local: bool


def why_unavailable(config: LocalConfig, place: Place) -> str | None:
    """Why the API can't be turned on here; None if it can."""
    if place.is_loopback or config.known_tokens:
        return None
    where = f"{place.program} listens on {', '.join(place.listen)}, where others can call it"
    return f"{where}: the local Face Generator API needs a token. {place.set_token}"


def check_host(request: web.Request, config: LocalConfig) -> Caller:
    """Who calls, and by which name. Refused for a name that isn't known to be ours: a web page can make its own name lead to
    this machine (DNS rebinding), but not an address or our names.

    A proxy of the settings may say by which name and scheme it was called itself. That name, too, has to be ours, and not in
    place of the Host header: the script of a rebound page may send any header.
    """
    headers, remote = request.headers, request.remote
    scheme, name = request.scheme, headers.get("Host", "")[:MOST_OF_A_NAME]
    for passed_on in FORWARDED:
        if passed_on in headers:
            break
    else:
        called_at = request.get_extra_info("sockname") or ("",)
        return _direct_caller(scheme, name, remote, called_at[0], config.served_as)
    called = _known_name(scheme, name, config.served_as)
    if _is_in(remote, Hosts(config.proxies)):
        told = _first(request, "X-Forwarded-Proto").lower()
        name = _first(request, "X-Forwarded-Host")[:MOST_OF_A_NAME] or name
        called = _known_name(told if told in ("http", "https") else scheme, name, config.served_as)
    return Caller(str(called.origin()), False)


@lru_cache(1024)  # clients call from the same few addresses
def _direct_caller(scheme: str, name: str, remote: str | None, called_at: str, served_as: tuple[str, ...]) -> Caller:
    """Who calls without a proxy between, at the address `called_at`. Refused as check_host says."""
    called = _known_name(scheme, name, served_as)
    return Caller(str(called.origin()), _is_here(remote, called_at) and _is_here(called.host, called_at))


@lru_cache(256)  # clients call by the same few names
def _known_name(scheme: str, name: str, served_as: tuple[str, ...]) -> URL:
    try:
        called = URL(f"{scheme}://{name}")
        host, _ = (called.host or "").rstrip("."), called.port
    except ValueError:
        host = ""
    if not host or not (_is_address(host) or host.lower() in _own_names() or Hosts(served_as).has_name(host)):
        shown = printable(host[:80]) or "nothing"
        raise Refused(
            403, f"This was called by the name {shown}, which is not listed in served_as of the local API's settings."
        )
    return called


def _first(request: web.Request, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip()


@lru_cache(1024)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_in(address: str | None, hosts: Hosts) -> bool:
    bare = (address or "").partition("%")[0]
    return _is_address(bare) and hosts.has_address(ip_address(bare))


def _is_loopback(host: str | None) -> bool:
    bare = (host or "").partition("%")[0].rstrip(".").lower()
    return bare == "localhost" or (_is_address(bare) and ip_address(bare).is_loopback)


def _is_here(host: str | None, called_at: str) -> bool:
    """Whether a host is this machine: by loopback, or by the very address at which it was called."""
    return _is_loopback(host) or (bool(host) and host == called_at)


def _own_names() -> set[str]:
    return {"localhost", socket.gethostname().lower()}


def bearer_owner(request: web.Request, config: LocalConfig) -> str | None:
    """Whose token the Bearer header holds, None if it holds none of ours."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    return _owner(bearer.strip(), config) if scheme.lower() == "bearer" else None


def check_begun(request: web.Request, body: bytes, config: LocalConfig) -> None:
    """Before a large body is decoded: Refused if it can't hold a token that is needed."""
    if len(body) <= UNPROVEN_BODY or not config.known_tokens or bearer_owner(request, config) is not None:
        return
    charset = request.charset or json.detect_encoding(body)
    if not any(form in body for token in config.known_tokens.values() for form in _written(token, charset)):
        raise Refused(401, WRONG_KEY)


def _written(token: str, charset: str) -> set[bytes]:
    """A token as JSON libraries write it, in the charset of a body; nothing in one that isn't known."""
    texts = {json.dumps(token)[1:-1], json.dumps(token, ensure_ascii=False)[1:-1]}
    forms = [form for text in texts for form in (text, text.replace("/", "\\/"))]
    found = set()
    with contextlib.suppress(LookupError, ValueError):
        name = codecs.lookup(charset).name.removesuffix("-sig")
        # Without an order, UTF-16 and UTF-32 begin each text with a mark of their own.
        for order in ("-le", "-be") if name in ("utf-16", "utf-32") else ("",):
            found |= {form.encode(name + order, "backslashreplace") for form in forms}
    return found


def check_key(request: web.Request, body: Any, config: LocalConfig) -> str:
    """Whose token `key` of the body or the Bearer header is; "" where none is needed. Raises Refused."""
    if not config.known_tokens:
        return ""
    key = body.get("key") if isinstance(body, dict) else None
    owner = _owner(key, config) if isinstance(key, str) else None
    owner = bearer_owner(request, config) if owner is None else owner
    if owner is None:
        raise Refused(401, WRONG_KEY if key or "Authorization" in request.headers else NO_KEY)
    return owner


def _owner(given: str, config: LocalConfig) -> str | None:
    found = None
    for owner, token in config.known_tokens.items():  # all of them, so that the time tells nothing
        if hmac.compare_digest(_bytes(given.strip()), _bytes(token)):
            found = owner
    return found


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # JSON may hold half of a character


def is_trusted(request: web.Request, body: Any, config: LocalConfig, caller: Caller) -> bool:
    """Whether a call comes from this machine or has a token."""
    if caller.is_local or not config.known_tokens:
        return caller.is_local
    try:
        check_key(request, body, config)
    except Refused:
        return False
    return True


def usable_config(request: web.Request, file: ConfigFile, place: Place) -> tuple[LocalConfig, Caller]:
    """The settings, if the API is on and may be, and who calls. Raises Refused."""
    try:
        config, problem = file.recent(), ""
    except ConfigError as error:
        config, problem = file.last, str(error)
    caller = check_host(request, config)
    if problem:
        told = problem if caller.is_local else "Its settings have a mistake. Asked from its own machine, it says which."
        raise Refused(503, f"The local Face Generator API can't run. {told}")
    if not config.enabled:
        raise Refused(404, f"The local Face Generator API is off: {place.turn_on}")
    if reason := why_unavailable(config, place):
        raise Refused(403, reason)
    return config, caller
