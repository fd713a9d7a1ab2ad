"""Pictures as strangers send them to the local API and as the hosted one sends them back."""

import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image

from facegen.api.hosted.result_images import MAX_PIXELS, to_batch
from facegen.api.local.incoming.face_photos import save_face
from facegen.api.picture_bytes import from_base64
from facegen.contract import ContractError
from facegen.picture_file import PictureError


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


def save(image, path, **options):
    """What the local API keeps of a photo that came as base64."""
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    asyncio.run(save_face(base64.b64encode(file.getvalue()).decode(), path, lambda url: None, ()))
    with Image.open(path) as kept:
        kept.load()
    return kept


def test_a_photo_is_kept_as_it_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    erased = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    kept = save(erased, tmp_path / "face.png", exif=exif)
    assert kept.mode == "RGB" and kept.size == (20, 30) and np.asarray(kept).min() == 255
    assert not kept.getexif() and set(kept.info) <= {"exif"} and "exif" not in kept.info


def test_a_strip_is_no_photo(tmp_path):
    with pytest.raises(ContractError) as error:
        save(Image.new("L", (1000, 10)), tmp_path / "face.png")
    assert "1000x10 pixels" in str(error.value.errors) and not list(tmp_path.iterdir())


def test_pictures_of_opposite_shapes_fit_into_one_batch():
    wide, high = np.ones((100, 4000, 3), np.float32), np.ones((20_000, 100, 3), np.float32)
    batch = to_batch([wide, high])
    assert batch[0, ..., 0].size <= MAX_PIXELS and batch.shape[1] / batch.shape[2] == pytest.approx(5, abs=0.01)
    assert batch[0].max() == batch[1].max() == 1
