"""Base64 as people and services send it: bare or as a data URI, wrapped, with either alphabet, with or without padding."""

import base64
import binascii
import re

DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
URLSAFE = str.maketrans("-_", "+/")


def from_base64(text: str, limit: int) -> bytes:
    """The bytes in `text`. Raises ValueError if it holds more than `limit` of them, or is no base64."""
    if len(text) > limit * 3 // 2:  # four thirds, and line ends
        raise ValueError(f"This has more than {limit >> 20} MB.")
    prefix = DATA_URI.match(text := text.strip())
    encoded = "".join(text[prefix.end() if prefix else 0 :].split()).translate(URLSAFE).rstrip("=")
    try:
        content = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("This is neither a link nor base64.") from None
    if len(content) > limit:
        raise ValueError(f"This has more than {limit >> 20} MB.")
    return content
