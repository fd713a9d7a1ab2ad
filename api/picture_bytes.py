"""Pictures as strangers send them: base64 in any of its ways, and what kind of file it is."""

import base64
import binascii
import re

from ..picture_file import PictureError

DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
# Ending of a picture file -> its media type.
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "avif": "image/avif"}
URLSAFE = str.maketrans("-_", "+/")


def from_base64(text: str, limit: int) -> bytes:
    """The bytes in a data URI or in base64: wrapped or not, of either alphabet, with or without padding.

    Raises PictureError if it holds more than `limit` bytes, or is no base64.
    """
    if len(text) > limit * 3 // 2:  # four thirds, and line ends
        raise PictureError(f"This has more than {limit >> 20} MB.")
    prefix = DATA_URI.match(text := text.strip())
    encoded = "".join(text[prefix.end() if prefix else 0 :].split()).translate(URLSAFE).rstrip("=")
    try:
        content = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PictureError("This is neither a link nor base64.") from None
    if len(content) > limit:
        raise PictureError(f"This has more than {limit >> 20} MB.")
    return content


def kind_of(content: bytes) -> str | None:
    """Which of TYPES a picture file begins as."""
    if content[:3] == b"\xff\xd8\xff":
        return "jpg"
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return "avif" if content[4:8] == b"ftyp" and content[8:12] in (b"avif", b"avis") else None
