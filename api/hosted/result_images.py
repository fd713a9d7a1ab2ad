"""What the service sends as a picture: bytes, a data URI, bare base64, or the text behind a .base64 link, to arrays."""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ...picture_file import PictureError, open_rgb
from ..picture_bytes import from_base64

MAX_BYTES = 20 << 20  # of one picture's file
MAX_PIXELS = 4096 * 4096  # of one picture


def is_link(output: str) -> bool:
    return output[:8].lower().startswith(("http://", "https://"))


def from_bytes(data: bytes) -> np.ndarray:
    """A picture file, or the base64 of one, as float32 RGB [H, W, 3] from 0 to 1. What it is, is read from its content."""
    text = data[:64].lstrip()
    if text.isascii() and (text.lower().startswith(b"data:") or re.fullmatch(rb"[A-Za-z0-9+/=_\s-]{16,}", text)):
        return from_text(data.decode("ascii", errors="replace"))
    return _decoded(data)


def from_text(text: str) -> np.ndarray:
    """A data URI, or base64, as float32 RGB [H, W, 3] from 0 to 1."""
    try:
        data = from_base64(text, MAX_BYTES)
    except PictureError as error:
        raise PictureError(f"{error} It begins {text[:40]!r}.") from None
    return _decoded(data)


def to_batch(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures float32 [H, W, 3] as one batch [B, H, W, 3].

    Of different sizes, each is scaled to fit the largest width and height found, its shape kept, centred on black. Where these
    make more than MAX_PIXELS, as of a very wide and a very high picture, all are reduced.
    """
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    if (scale := (MAX_PIXELS / (height * width)) ** 0.5) < 1:
        height, width = int(height * scale), int(width * scale)
    return np.stack([_fitted(picture, height, width) for picture in pictures])


def _decoded(data: bytes) -> np.ndarray:
    if len(data) > MAX_BYTES:
        raise PictureError(f"The picture has more than {MAX_BYTES >> 20} MB.")
    try:
        rgb = open_rgb(data, MAX_PIXELS)
    except PictureError as error:
        start = data[:16].decode("ascii", errors="replace")
        raise PictureError(f"{error} It has {len(data)} bytes, which begin {start!r}.") from None
    return np.asarray(rgb, dtype=np.float32) / 255


def _fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    own_height, own_width = picture.shape[:2]
    if (own_height, own_width) == (height, width):
        return picture
    scale = min(height / own_height, width / own_width)
    size = min(width, max(1, round(own_width * scale))), min(height, max(1, round(own_height * scale)))
    scaled = Image.fromarray(np.rint(picture * 255).astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    canvas = np.zeros((height, width, 3), dtype=np.float32)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(scaled, dtype=np.float32) / 255
    return canvas
