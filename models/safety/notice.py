"""The notice that is shown in place of a picture: light letters on a dark ground, in Pillow's own font."""

import textwrap
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...errors import FaceGenError

NOTICE = "Sensitive content"
LONGEST = 200  # characters
FILL = 0.8  # of the area's width and height that the notice may take
TURN = 1.5  # times larger that letters have to get for the notice to run upwards
GROUND, INK = 24, 230  # grey levels, 0-255
_PROBE = 100  # font size in pixels at which layouts are measured
_ABSENT = "\uffff"  # no font has it, so it is drawn as the sign for a character that is missing


def notice_picture(height: int, width: int, text: str = NOTICE) -> Tensor:
    """A grey picture float32 [height, width, 3] (0-1) that says `text`, in the lines and the direction in which the letters
    get largest. Raises FaceGenError for a text that can't be drawn; see require_notice."""
    require_notice(text)
    level = max((_size(w, h, height, width), lines) for lines, w, h in _layouts(text))
    upward = max((_size(w, h, width, height), lines) for lines, w, h in _layouts(text))
    turned = upward[0] > TURN * level[0]
    size, lines = upward if turned else level
    canvas = Image.new("L", (height, width) if turned else (width, height), GROUND)
    ImageDraw.Draw(canvas).text((canvas.width / 2, canvas.height / 2), lines, INK, anchor="mm", **_type(size))
    if turned:
        canvas = canvas.transpose(Image.Transpose.ROTATE_90)
    grey = torch.from_numpy(np.asarray(canvas, dtype=np.float32) / 255)
    return grey[..., None].expand(height, width, 3)


def require_notice(text: str) -> None:
    """Raises FaceGenError when `text` is empty, too long, or has characters that the font lacks."""
    if not text.split():
        raise FaceGenError("The notice is empty. It needs at least one letter.")
    if len(text) > LONGEST:
        raise FaceGenError(f"The notice has {len(text)} characters; {LONGEST} is the most.")
    if absent := _missing(text):
        raise FaceGenError(f"The notice can't be drawn: Pillow's font lacks {' '.join(absent)}.")


@lru_cache(maxsize=16)
def _missing(text: str) -> list[str]:
    font = ImageFont.load_default(_PROBE)
    absent = bytes(font.getmask(_ABSENT))
    return [letter for letter in dict.fromkeys("".join(text.split())) if bytes(font.getmask(letter)) in (absent, b"")]


@lru_cache(maxsize=16)
def _layouts(text: str) -> list[tuple[str, float, float]]:
    """All ways to break the text into lines of even length, with width and height at the probe size."""
    words = text.split()
    widths = range(max(map(len, words)), sum(map(len, words)) + len(words))
    ways = dict.fromkeys("\n".join(textwrap.wrap(" ".join(words), w, break_on_hyphens=False)) for w in widths)
    draw = ImageDraw.Draw(Image.new("L", (1, 1)))
    boxes = [draw.textbbox((0, 0), lines, **_type(_PROBE)) for lines in ways]
    return [(lines, right - left, bottom - top) for lines, (left, top, right, bottom) in zip(ways, boxes, strict=True)]


def _size(text_width: float, text_height: float, height: int, width: int) -> float:
    """The largest font size, at least 1 pixel, at which a text of that size at the probe size fits."""
    return max(1.0, _PROBE * FILL * min(width / text_width, height / text_height))


def _type(size: float) -> dict[str, Any]:
    return {"font": ImageFont.load_default(size), "spacing": size / 4, "align": "center"}
