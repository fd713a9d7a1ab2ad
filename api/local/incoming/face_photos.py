"""The photo of a request: fetched or decoded, checked, and written where the backend can read it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ....atomic_write import USUAL, atomic_path
from ....contract import ContractError
from ....picture_file import PictureError, open_rgb
from ...download import DownloadError, Limits, download
from ...picture_bytes import from_base64, kind_of
from .lenient_request import unusable

LIMITS = Limits(bytes=20 << 20, seconds=30, redirects=3)
DECODERS = ThreadPoolExecutor(2, "facegen-photo")  # few: a photo of 50 million pixels takes hundreds of megabytes
Local = Callable[[str], Awaitable[bytes | None]]  # one of our own URLs -> what is behind it


async def save_face(source: str, path: Path, local: Local, allow: Iterable[str]) -> tuple[int, int]:
    """Write the photo behind `source` (an http(s) URL, a data URI or base64) to `path` as an RGB PNG without metadata; its
    width and height.

    Raises ContractError naming face_image if it can't be had or is no picture within the limits, OSError if it can't be
    written.
    """
    try:
        content: str | bytes = source
        if "://" in source[:20]:
            own = await local(source)
            content = await download(source, LIMITS, allow) if own is None else own
        return await asyncio.get_running_loop().run_in_executor(DECODERS, _write, content, path)
    except (DownloadError, PictureError) as error:
        raise ContractError({"face_image": [unusable("face_image", error)]}) from error


async def check_photo(name: str, source: str) -> tuple[bytes, str]:
    """The picture file in a data URI or base64, as it came, and which of TYPES it is.

    Raises ContractError naming the field `name` if it is no picture within the limits.
    """

    def check() -> tuple[bytes, str]:
        content = from_base64(source, LIMITS.bytes)
        open_rgb(content)
        if (kind := kind_of(content)) is None:
            raise PictureError("It is none of the kinds of pictures that are kept.")
        return content, kind

    try:
        return await asyncio.get_running_loop().run_in_executor(DECODERS, check)
    except PictureError as error:
        raise ContractError({name: [unusable(name, error)]}) from error


def _write(content: str | bytes, path: Path) -> tuple[int, int]:
    image = open_rgb(content if isinstance(content, bytes) else from_base64(content, LIMITS.bytes))
    with atomic_path(path, USUAL) as part:
        image.save(part, "PNG", compress_level=1)
    return image.size
