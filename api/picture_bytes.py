"""Pictures as strangers send them: base64 in any of its ways, and files whose content is not trusted."""

import base64
import binascii
import io
import re

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import FaceGenError

FORMATS = ("JPEG", "PNG", "WEBP")  # Pillow's rarer readers see no stranger's bytes
DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
URLSAFE = str.maketrans("-_", "+/")


class PictureError(FaceGenError):
    """What was sent as a picture is none, is damaged, or is too large."""


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


def open_rgb(content: bytes, max_pixels: int) -> Image.Image:
    """The upright RGB picture in a file, whatever its colours and depth; of an animation the first frame.

    Raises PictureError if it is none, is damaged, or has more pixels.
    """
    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = opened.size
        if width * height > max_pixels:  # known before anything is unpacked
            raise Image.DecompressionBombError
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
            image = image.convert("I").point(lambda level: level * (1 / 257)).convert("L")
        return image.convert("RGB")
    except UnidentifiedImageError:
        raise PictureError("It is no JPEG, PNG or WebP picture.") from None
    except Image.DecompressionBombError:
        raise PictureError(f"It has more than {max_pixels // 1_000_000} million pixels.") from None
    except Exception as error:  # a decoder may raise anything on bytes that were made to break it
        raise PictureError(f"The picture is damaged ({type(error).__name__}).") from error
