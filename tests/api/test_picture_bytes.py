"""Strangers' pictures: read whatever their colours, or refused by a PictureError whatever was done to their bytes."""

import base64
import io
import random

import numpy as np
import pytest
from PIL import Image

from facegen.api.picture_bytes import PictureError, from_base64, open_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)


def saved(kind, image=None, **options):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    (image or Image.fromarray(PIXELS)).save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_bytes_that_were_tampered_with(kind):
    chance, whole, refused = random.Random(kind), saved(kind), 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(chance.choice((60, 200, len(content))))] = chance.randrange(256)
        content = content[: chance.choice((len(content), chance.randrange(len(content))))]
        try:
            assert open_rgb(bytes(content), 100_000).mode == "RGB"
        except PictureError as error:
            assert str(error).startswith(("It is no", "It has more", "The picture is damaged"))
            refused += 1
    assert refused > 50
    assert open_rgb(whole, 480).size == (24, 20)  # upright


@pytest.mark.parametrize("kind", ["I;16", "L", "LA", "RGBA", "P", "1", "CMYK"])
def test_colours_and_depths(kind):
    level = np.full((8, 8), 100)
    if kind == "I;16":
        image = Image.fromarray((level * 257).astype(np.uint16))
    else:
        image = Image.fromarray(level.astype(np.uint8)).convert("RGB" if kind in ("P", "CMYK", "RGBA") else "L").convert(kind)
    rgb = np.asarray(open_rgb(saved("JPEG" if kind == "CMYK" else "PNG", image), 100)).astype(float)
    wanted = np.asarray(image.convert("L")).mean() if kind == "1" else 100
    assert rgb.shape == (8, 8, 3) and abs(rgb.mean() - wanted) < 3


def test_more_pixels_than_allowed():
    with pytest.raises(PictureError, match="million pixels"):
        open_rgb(saved("PNG"), 479)


@pytest.mark.parametrize("text", ["me.jpg", "data:image/png,abc", "ä" * 40, "A", "\ud800", "data:;base64"])
def test_texts_that_are_no_base64(text):
    with pytest.raises(PictureError, match="neither a link nor base64"):
        from_base64(text, 100)


def test_the_limit_counts_bytes():
    text = base64.encodebytes(bytes(100)).decode()
    assert from_base64(text, 100) == bytes(100)
    for limit in (99, 60):
        with pytest.raises(PictureError, match="more than"):
            from_base64(text, limit)
