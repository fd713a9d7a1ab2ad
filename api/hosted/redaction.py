"""A key taken out of texts, however whoever sends them back has written it."""

import base64
import html.entities
import json
import re
from urllib.parse import quote

ESCAPES = re.compile(r"[%\\&]")  # one of which begins each escape of _spellings


class KeyPattern:
    """What matches a key in a text. Most texts, such as pictures in base64, are seen not to hold it without being searched
    for every way of writing it.
    """

    def __init__(self, key: str):
        self._pattern = key_pattern(key)
        self._whole = [text.lower() for text in (key, *_whole(key.encode()))]

    def sub(self, put: str, text: str) -> str:
        """The text with `put` wherever the key was."""
        if text.isascii() and not ESCAPES.search(text):
            lower = text.lower()
            if not any(whole in lower for whole in self._whole):
                return text
        return self._pattern.sub(put, text)


def key_pattern(key: str) -> re.Pattern[str]:
    """Matches an ASCII key, each of its characters as it is or in any way that URLs, JSON and HTML escape it, one way mixed
    with another; and the key in hexadecimal or in base64, also as a part of a longer text.
    """
    spelled = "".join(f"(?:{'|'.join(_spellings(sign))})" for sign in key)
    return re.compile("|".join([spelled, *map(re.escape, _whole(key.encode()))]), re.IGNORECASE)


def _whole(raw: bytes) -> list[str]:
    """The key as one text: in hexadecimal, and in base64."""
    return [raw.hex(), *_base64_parts(raw)]


def _spellings(sign: str) -> list[str]:
    code = ord(sign)
    # Bounded repetitions: a text of nothing but escapes must not take quadratic time.
    escaped = [
        rf"%(?:25){{0,4}}{code:02x}",  # percent-encoded, once or several times
        rf"\\{{1,8}}(?:u00|x){code:02x}",  # JSON, and others' escapes
        rf"\\{{1,8}}u\{{0{{0,6}}{code:x}\}}",
        rf"(?:&amp;|&)\#0{{0,6}}{code};?",
        rf"(?:&amp;|&)\#x0{{0,6}}{code:x};?",
        *(rf"(?:&amp;|&){name.rstrip(';')};?" for name, named in html.entities.html5.items() if named == sign),
    ]
    return [*escaped, rf"\\{{0,8}}{re.escape(sign)}"]


def _base64_parts(raw: bytes) -> set[str]:
    """What stands in base64 wherever the key is in the text: without the signs that it shares with its neighbours."""
    parts = set()
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        whole = (before + len(raw)) * 8 // 6  # signs that hold nothing but this text
        shown = text[-(-before * 8 // 6) : whole]
        for form in (shown, shown.translate(str.maketrans("+/", "-_"))):
            parts |= {form, json.dumps(form)[1:-1].replace("/", "\\/"), quote(form, safe="")}
    return parts
