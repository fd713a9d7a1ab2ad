"""The photo as it leaves the machine: a fresh JPEG of the pixels alone, small enough for the service."""

import base64
import io

import numpy as np
from PIL import Image

LONGEST_SIDE = 2048  # pixels; the service makes at most 512x768
QUALITY = 95
MAX_BYTES = 3_500_000  # as base64 this leaves 300 kB of the service's 5 MB for the other fields
MIME = "data:image/jpeg;base64,"


def to_data_uri(picture: np.ndarray, limit: int = MAX_BYTES) -> str:
    """An RGB picture uint8 [H, W, 3] as a JPEG data URI of at most `limit` bytes before base64.

    Only pixels are encoded, so that no EXIF, place or device of the photo's file is in it.
    """
    image = Image.fromarray(picture, "RGB")
    if max(image.size) > LONGEST_SIDE:
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    while len(jpeg := _jpeg(image)) > limit:
        scale = 0.95 * (limit / len(jpeg)) ** 0.5
        width, height = (max(1, int(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return MIME + base64.b64encode(jpeg).decode()


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
