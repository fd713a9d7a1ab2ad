"""One POST to the Face Generator and what became of it: an answer, nothing sent, or sent without an answer."""

import asyncio
import json
from dataclasses import dataclass

import aiohttp

from ..links import read_link
from ..response import FaceGenResponse, ResponseError
from .profiles import Profile

CONNECT_SECONDS = 15
MAX_ANSWER = 64 << 20  # bytes: two pictures as base64, and room
CHUNK = 1 << 16
HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "ComfyUI-FaceGen"}


class NotSent(Exception):
    """No connection came about, so that no byte of the request left. Sending it once more can't bill twice."""

    def __init__(self, reason: str, final: bool = False):
        super().__init__(reason)
        self.final = final  # whether trying again is pointless


class NoAnswer(Exception):
    """The request was sent, or begun to be, and no whole answer came: the server may have taken it."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer without the key. `response` is None where the body is none of the contract; `problem` says why."""

    code: int
    response: FaceGenResponse | None
    problem: str
    retry_after: float | None  # seconds


def new_session() -> aiohttp.ClientSession:
    """Each request gets a connection of its own: a kept one that the server has closed would fail after sending."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), headers=HEADERS)


async def exchange(session: aiohttp.ClientSession, url: str, payload: bytes, profile: Profile, seconds: float) -> Answer:
    """POST `payload` within `seconds`. Redirects are not followed: they would take the key elsewhere.

    Raises NotSent or NoAnswer.
    """
    seconds = max(seconds, 0.1)  # to aiohttp, nothing left means no limit
    # Connecting has to run out of time first: only then is it known that nothing was sent.
    limits = aiohttp.ClientTimeout(total=seconds, connect=min(CONNECT_SECONDS, 0.8 * seconds))
    try:
        async with session.post(read_link(url), data=payload, allow_redirects=False, timeout=limits) as answer:
            body = await _read(answer)
            return _understood(answer, body, profile)
    except aiohttp.ClientSSLError as error:
        raise NotSent(f"no secure connection to {profile.host} ({type(error).__name__})", final=True) from None
    # aiohttp raises these two while it connects, before it is given the request; all its others may come later.
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise NotSent(f"no connection to {profile.host} ({_reason(error)})") from None
    except (asyncio.TimeoutError, TimeoutError):  # two classes before Python 3.11
        raise NoAnswer(f"no whole answer within {seconds:.0f} seconds") from None
    except (aiohttp.ClientError, OSError) as error:
        raise NoAnswer(f"the connection broke off ({_reason(error)})") from None


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > MAX_ANSWER:
            raise NoAnswer(f"the answer has more than {MAX_ANSWER >> 20} MB")
    return bytes(body)


def _understood(answer: aiohttp.ClientResponse, body: bytes, profile: Profile) -> Answer:
    header = answer.headers.get("Retry-After", "")
    retry_after = float(header) if header.isdecimal() and len(header) < 7 else None
    response, problem = None, ""
    try:
        response = FaceGenResponse.parse(profile.redact(json.loads(body)))
    except ResponseError as error:
        problem = str(error)
    except (ValueError, RecursionError):
        kind = "an HTML page" if "html" in answer.content_type else "not JSON"
        start = profile.redact(" ".join(body[:2000].decode(errors="replace").split()))[:120]
        problem = f"The answer is {kind}: {start!r}."
    return Answer(answer.status, response, profile.redact(problem), retry_after)


def _reason(error: Exception) -> str:
    """Words without addresses or contents."""
    cause = getattr(error, "os_error", error)
    return getattr(cause, "strerror", None) or type(error).__name__
