"""The body of a request, read so that it costs no more than its route needs, and what it costs is in proportion."""

import codecs
import json
from types import TracebackType
from typing import Any

from aiohttp import web

from .access import Refused

LARGE = 32 << 20  # bytes; a photo of 20 MB in base64, and the rest
SMALL = 64 << 10  # bytes of a body without a photo
CHUNK = 1 << 16
AT_ONCE = 4 * LARGE  # bytes of all bodies that are here at the same time
LATER = 5  # seconds until those that are here should be done with
# Commas, brackets and colons of a body. Prompts hold some; a few megabytes of nothing else would become gigabytes of objects.
MOST_SIGNS = 30_000
# What a body may be declared as. Python knows more, some of which take quadratic time.
CHARSETS = {
    codecs.lookup(name).name
    for name in (
        *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "ascii"),
        *("iso8859-1", "iso8859-2", "iso8859-15", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1256", "koi8-r"),
        *("gbk", "gb2312", "gb18030", "big5", "shift_jis", "cp932", "euc-jp", "euc-kr", "cp949"),
    )
}


class Room:
    """What all bodies together may take, so that many clients at once don't fill the memory."""

    def __init__(self, size: int = AT_ONCE):
        self._left = size

    def share(self) -> "Share":
        """For what one request takes of it; given back at the end of a `with`."""
        return Share(self)

    def take(self, size: int) -> None:
        if size > self._left:
            raise Refused(503, "Too many large requests are arriving at once. Send this one again later.", LATER)
        self._left -= size

    def give_back(self, size: int) -> None:
        self._left += size


class Share:
    """The part of a Room that one request has taken."""

    def __init__(self, room: Room):
        self._room, self._size = room, 0

    def __enter__(self) -> "Share":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.give_back()

    def take(self, size: int) -> None:
        """Raises Refused when there is no room for so many bytes more."""
        self._room.take(size)
        self._size += size

    def give_back(self) -> None:
        """The body isn't needed any more. Twice is the same as once."""
        self._room.give_back(self._size)
        self._size = 0


async def read_body(request: web.Request, limit: int, share: Share, may_be_empty: bool = False) -> bytes:
    """The bytes of a JSON body of at most `limit`. Only application/json is read: a web page can't send that here without
    asking first (CORS). A body that may be empty needs no Content-Type then. Raises Refused.
    """
    if may_be_empty and not request.can_read_body:
        return b""
    if request.content_type != "application/json":
        raise Refused(415, "The Content-Type has to be application/json.")
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    chunks, size, content = [], 0, request.content
    try:
        while chunk := await content.read(CHUNK):
            share.take(len(chunk))
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            if content.at_eof():  # mostly so after the first one
                break
    except (web.RequestPayloadError, OSError):
        raise Refused(400, "The body broke off, or is not encoded as its headers say.") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Refused:
    return Refused(413, f"The body is larger than {_shown(limit)}.")


def decode_body(body: bytes, charset: str | None) -> Any:
    """The JSON in a body, in the charset that its Content-Type declares, else in UTF-8 (or 16 or 32). Raises Refused."""
    if len(body) > MOST_SIGNS and sum(map(body.count, (b",", b"[", b"{", b":"))) > MOST_SIGNS:
        raise Refused(400, f"The body has more than {MOST_SIGNS} commas, colons and brackets; no request needs so many.")
    text = _text(body, charset) if charset else body
    try:
        if isinstance(text, bytes) and text.startswith(b'{"'):  # surely UTF-8: json would look for that with each body
            text = text.decode("utf-8", "surrogatepass")  # as json decodes it
        return json.loads(text or "{}")
    except UnicodeDecodeError:
        raise Refused(400, "The body is not UTF-8. Send it as UTF-8, or declare its charset in the Content-Type.") from None
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not valid JSON.") from None


def _text(body: bytes, charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        name = ""
    if name not in CHARSETS:
        raise Refused(415, f"The charset {charset[:40]!r} of the Content-Type is not known here. Send the body as UTF-8.")
    try:
        return body.decode("utf-8-sig" if name == "utf-8" else name)
    except UnicodeDecodeError:
        raise Refused(400, f"The body is not in the charset that its Content-Type declares, {charset[:40]!r}.") from None


def _shown(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} kB"
