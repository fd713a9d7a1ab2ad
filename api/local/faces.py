"""The photo of a request: fetched or decoded, checked, and written where a graph can load it."""

import asyncio
import base64
import binascii
import io
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from ..contract import ContractError
from ..download import DownloadError, Limits, download

FORMATS = ("JPEG", "PNG", "WEBP")  # Pillow's rarer readers see no stranger's bytes
LIMITS = Limits(bytes=20 << 20, seconds=30, redirects=3)
MAX_PIXELS = 50_000_000
DATA_URI = re.compile(r"data:image/[\w.+-]{1,40}(;[\w=-]{1,40})*;base64,", re.IGNORECASE)
DECODERS = ThreadPoolExecutor(2, "facegen-photo")  # few: a photo of 50 million pixels takes hundreds of megabytes
Local = Callable[[str], Path | None]  # one of our own URLs -> its file


async def save_face(source: str, path: Path, local: Local, allow: Iterable[str]) -> None:
    """Write the photo behind `source` (an http(s) URL, a data URI or base64) to `path` as an RGB PNG without metadata.

    Raises ContractError naming face_image if it can't be had or is no picture within the limits.
    """
    try:
        content: str | bytes = source
        if "://" in source[:20]:
            file = local(source)
            content = await download(source, LIMITS, allow) if file is None else file.read_bytes()
        await asyncio.get_running_loop().run_in_executor(DECODERS, _write, content, path)
    except (DownloadError, ValueError) as error:
        raise ContractError({"face_image": [f"The face_image field can't be used. {error}"]}) from error


def decoded(text: str) -> bytes:
    """The bytes of a data URI or of base64, at most as many as a photo may have."""
    if text[:5].lower() == "data:":
        prefix = DATA_URI.match(text)
        if not prefix:
            raise ValueError("A data URI must begin with data:image/jpeg;base64, or another type of picture.")
        text = text[prefix.end() :]
    if len(text) > LIMITS.bytes * 4 // 3 + 4:
        raise ValueError(f"It is larger than {LIMITS.bytes >> 20} MB.")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("It is neither an http(s) URL nor valid base64.") from None


def _write(content: str | bytes, path: Path) -> None:
    image = _opened(content if isinstance(content, bytes) else decoded(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    clean = Image.new("RGB", image.size)  # pixels alone, none of the photo's metadata
    clean.paste(image)
    temporary = path.with_suffix(".part")
    clean.save(temporary, "PNG", compress_level=1)
    temporary.replace(path)


def _opened(content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError("It is no JPEG, PNG or WebP picture.") from None
    except Image.DecompressionBombError:
        raise ValueError(f"It has more than {MAX_PIXELS // 1_000_000} million pixels.") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"It has {width}x{height} pixels; {MAX_PIXELS // 1_000_000} million are allowed.")
    try:
        return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # a decoder may raise anything on bytes that were made to break it
        raise ValueError(f"The picture is damaged ({type(error).__name__}).") from error
