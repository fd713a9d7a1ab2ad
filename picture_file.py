"""Picture files to upright RGB pixels: the one reader for whatever comes as a file, whoever sent it.

What a decoder may cost is bounded here, before it runs: pixels, shape, scans. Of a file's metadata only the EXIF orientation is
read, by a parser of its own; the rest is cut off first, because Pillow reads it while it opens a file, at a cost that has no
bound, and writes it anew to turn a picture, which fails on EXIF that it can't write.
"""

import io
import re
import struct
from collections.abc import Iterator
from typing import TypeVar

from PIL import Image, UnidentifiedImageError, features

from .errors import FaceGenError

MAX_PIXELS = 50_000_000  # of a stranger's picture: about 600 MB while it is read
MAX_OWN_PIXELS = 178_000_000  # of a file of the user's own: the largest cameras' photos, and where Pillow itself stops
MAX_ASPECT = 20  # longer side / shorter side; a panorama has 10
MAX_WORK = 1_000_000_000  # pixels x scans of a progressive JPEG, each of which the decoder goes over: about 10 seconds
MAX_PARTS = 100_000  # segments of a JPEG, chunks of a PNG, boxes of an AVIF
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")  # Pillow's rarer readers see no stranger's bytes
OWN_FORMATS = (*FORMATS, "GIF", "TIFF", "BMP")
GROUND = (255, 255, 255)  # under what is transparent: the colour of most pages
ORIENTATION, SHORT, LONG = 0x0112, 3, 4  # EXIF's tag, and the types it is written as
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)  # of a JPEG; neither stuffing nor one without content
PNG_START, PNG_PIXELS = b"\x89PNG\r\n\x1a\n", (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
T = TypeVar("T")
TO_EIGHT_BITS = [round(level / 257) for level in range(1 << 16)]


class PictureError(FaceGenError):
    """A picture file that is none, is damaged, or is larger than is read."""


def open_rgb(content: bytes, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The picture in a file as it is seen: upright, RGB whatever its colours and depth, on white where it is transparent; of
    an animation the first frame. It carries no metadata.

    Memory while it runs: at most 16 bytes a pixel, and twice the file. Raises PictureError if it is no picture of `formats`, is
    damaged, has more pixels, or is longer than MAX_ASPECT times its shorter side.
    """
    try:
        plain, orientation = _without_metadata(content)
        if (size := _webp_size(plain)) is not None:
            _check_size(*size, max_pixels)  # Pillow reserves the whole canvas when it opens one
        opened = Image.open(io.BytesIO(plain), formats=formats)
        _check_size(*opened.size, max_pixels)  # before anything is unpacked
        _check_scans(opened, plain)
        orientation = orientation or exif_orientation(opened.info.get("exif", b""))
        image = _rgb(opened)
        return image.transpose(TURNS[orientation]) if orientation in TURNS else image
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(_what_it_is(content, formats)) from None
    except Image.DecompressionBombError:
        raise _too_large(max_pixels) from None
    except Exception as error:  # a decoder may raise anything on bytes that were made to break it
        raise PictureError(f"The picture is damaged ({type(error).__name__}).") from error


def _rgb(image: Image.Image) -> Image.Image:
    """A new RGB picture without metadata."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        image = image.convert("I").point(TO_EIGHT_BITS, "L")
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGB", image.size, GROUND)
        ground.paste(layer, mask=layer)
        return ground
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _too_large(max_pixels)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PictureError(f"It has {width}x{height} pixels. A photo of at most {MAX_ASPECT} times its shorter side is needed.")


def _too_large(max_pixels: int) -> PictureError:
    return PictureError(f"It has more than {max_pixels // 1_000_000} million pixels.")


def _check_scans(image: Image.Image, content: bytes) -> None:
    scans = content.count(b"\xff\xda") if image.format == "JPEG" else 1
    if scans * image.width * image.height > max(MAX_WORK, 20 * image.width * image.height):
        raise PictureError(f"The picture is damaged ({scans} scans).")


def _what_it_is(content: bytes, formats: tuple[str, ...]) -> str:
    avif = "AVIF" in formats and features.check("avif")
    brand = content[8:12] if content[4:8] == b"ftyp" else b""
    if brand in HEIC:
        return "It is a HEIC picture, as iPhones take them, which isn't read here. Save it as JPEG first."
    if brand in (b"avif", b"avis") and not avif:
        return "It is an AVIF picture, which this version of Pillow can't read. Save it as JPEG, or update Pillow."
    named = [{"WEBP": "WebP"}.get(name, name) for name in formats if name != "AVIF" or avif]
    return f"It is no {', '.join(named[:-1])} or {named[-1]} picture."


# A file's parts: what the pixels need is kept, and the orientation is looked for in what goes.


def _without_metadata(content: bytes) -> tuple[bytes, int | None]:
    """(the file without its metadata, EXIF orientation if it was in there). What isn't understood is kept as it is."""
    if content.startswith(b"\xff\xd8"):
        return _kept(content, _jpeg_parts(content))
    if content.startswith(PNG_START):
        return _kept(content, _png_parts(content))
    if content[4:8] == b"ftyp":  # AVIF turns its pixels by itself, and its EXIF may not be followed
        return b"".join(_bounded(_avif_parts(content))), None
    return content, None


def _kept(content: bytes, parts: Iterator[tuple[int, int, bool, bytes]]) -> tuple[bytes, int | None]:
    """From (start, end, whether it is needed, EXIF in it) of each part."""
    view, kept, orientation = memoryview(content), [], None
    for start, end, needed, exif in _bounded(parts):
        if needed:
            kept.append(view[start:end])
        elif exif and orientation is None:
            orientation = exif_orientation(exif)
    return b"".join(kept), orientation


def _bounded(parts: Iterator[T]) -> Iterator[T]:
    for number, part in enumerate(parts):
        if number == MAX_PARTS:
            raise PictureError("The picture is damaged (too many parts).")
        yield part


def _jpeg_parts(content: bytes) -> Iterator[tuple[int, int, bool, bytes]]:
    """Up to the first scan; of the application's segments JFIF's and Adobe's are needed, which tell the colours."""
    at = 2
    yield 0, at, True, b""
    while (found := MARKER.search(content, at)) and (at := found.start()) < len(content) - 3:
        marker = content[at + 1]
        if marker in (0xD9, 0xDA):
            break
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        needed = marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE)
        exif = content[at + 4 : end] if marker == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0" else b""
        yield at, end, needed, exif
        at = end
    yield at if found else len(content), len(content), True, b""


def _png_parts(content: bytes) -> Iterator[tuple[int, int, bool, bytes]]:
    at = len(PNG_START)
    yield 0, at, True, b""
    while at + 12 <= len(content):
        end, kind = at + 12 + int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        yield at, end, kind in PNG_PIXELS, content[at + 8 : end - 4] if kind == b"eXIf" else b""
        at = end
    yield at, len(content), True, b""


def _avif_parts(content: bytes) -> Iterator[bytes]:
    """All boxes; in those that describe, no item is called EXIF any more."""
    at = 0
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(content[at + 8 : at + 16], "big")
        end = at + max(size, 8) if size else len(content)
        box = content[at:end]
        yield box if kind == b"mdat" else re.sub(rb"Exif", b"none", box)
        at = end
    yield content[at:]


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """Width and height that the header of a WebP file tells for the whole canvas; None where it doesn't."""
    if content[:4] != b"RIFF" or content[8:16] != b"WEBPVP8X" or len(content) < 30:
        return None
    return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1


def exif_orientation(exif: bytes) -> int:
    """1 to 8 as EXIF numbers them, read from the first directory of an EXIF block; 1 where it has none or is damaged."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == ORIENTATION and kind in (SHORT, LONG):
                (value,) = struct.unpack_from(order + ("H" if kind == SHORT else "L"), tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
