"""Who may call the local API: nobody while it is off, this machine, or whoever knows the token."""

import hmac
import json
import socket
from ipaddress import ip_address
from typing import Any

from aiohttp import web
from yarl import URL

from ....errors import FaceGenError
from ...response import ERROR, FaceGenResponse
from ..backend import without_folders
from ..config import ConfigError, ConfigFile, LocalConfig
from ..place import Place

MAX_BODY = 32 << 20  # bytes; a photo of 20 MB in base64, and the rest


class Refused(FaceGenError):
    """A request that is answered with an HTTP status other than 200."""

    def __init__(self, status: int, message: str, retry_after: int | None = None):
        self.status, self.retry_after = status, retry_after
        super().__init__(message)

    def answer(self) -> web.Response:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        body = FaceGenResponse(ERROR, message=without_folders(str(self)), retry_after=self.retry_after).as_dict()
        return web.json_response(body, status=self.status, headers=headers)


def why_unavailable(config: LocalConfig, place: Place) -> str | None:
    """Why the API can't be turned on here; None if it can."""
    if place.is_loopback or config.token:
        return None
    where = f"{place.program} listens on {', '.join(place.listen)}, where others can call it"
    return f"{where}: the local Face Generator API needs a token. {place.set_token}"


def check_host(request: web.Request, config: LocalConfig) -> str:
    """The origin (scheme and host) that the client called. Refused for a name that isn't known to be ours: a web page can
    make its own name lead to this machine (DNS rebinding), but not an address or our names."""
    try:
        called = URL(f"{request.scheme}://{request.headers.get('Host', '')}")
        host, _ = (called.host or "").rstrip("."), called.port
    except ValueError:
        host = ""
    if not host or not (_is_address(host) or host.lower() in _own_names(config)):
        raise Refused(403, f"The Host header names {host[:80] or 'nothing'}, which is not listed in served_as of the settings.")
    return str(called.origin())


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _own_names(config: LocalConfig) -> set[str]:
    return {"localhost", socket.gethostname().lower(), *(name.lower() for name in config.served_as)}


def check_key(request: web.Request, body: Any, config: LocalConfig) -> None:
    """With a token configured, `key` of the body or a Bearer header has to be it."""
    if not config.token:
        return
    key = body.get("key") if isinstance(body, dict) else None
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    given = [key if isinstance(key, str) else "", bearer.strip() if scheme.lower() == "bearer" else ""]
    if not any(hmac.compare_digest(_bytes(text), _bytes(config.token)) for text in given):
        raise Refused(401, "The key is not this machine's token.")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # JSON may hold half of a character


async def read_json(request: web.Request) -> Any:
    """The decoded body. Only application/json is read: a web page can't send that here without asking first (CORS)."""
    if request.content_type != "application/json":
        raise Refused(415, "The Content-Type has to be application/json.")
    if (request.content_length or 0) > MAX_BODY:
        raise Refused(413, f"The body is larger than {MAX_BODY >> 20} MB.")
    body = bytearray()
    try:
        async for chunk in request.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > MAX_BODY:
                raise Refused(413, f"The body is larger than {MAX_BODY >> 20} MB.")
    except (web.RequestPayloadError, OSError):
        raise Refused(400, "The body broke off, or is not encoded as its headers say.") from None
    try:
        return json.loads(bytes(body) or b"{}")
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not valid JSON.") from None


def usable_config(request: web.Request, file: ConfigFile, place: Place) -> tuple[LocalConfig, str]:
    """The settings, if the API is on and may be, and the origin that the client called. Raises Refused."""
    try:
        config, problem = file.read(), ""
    except ConfigError as error:
        config, problem = file.last, str(error)
    origin = check_host(request, config)
    if problem:
        raise Refused(503, f"The local Face Generator API can't run. {problem}")
    if not config.enabled:
        raise Refused(404, f"The local Face Generator API is off: {place.turn_on}")
    if reason := why_unavailable(config, place):
        raise Refused(403, reason)
    return config, origin
