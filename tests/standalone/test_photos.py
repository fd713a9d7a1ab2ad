"""Photo files of every kind, and two hundred broken ones."""

import io
import random
import time

import numpy as np
import pytest
import torch
from PIL import Image

from facegen.errors import FaceGenError
from facegen.models.face.analysis import FaceAnalysis, to_bgr
from facegen.standalone.photos import read_photo
from onnx_files import save_pack


@pytest.fixture(scope="module")
def picture():
    from skimage import data

    return Image.fromarray(data.astronaut()).resize((96, 64))


@pytest.fixture(scope="module")
def face_analysis(tmp_path_factory):
    return FaceAnalysis(save_pack(tmp_path_factory.mktemp("packs") / "p", [(0.3, 0.3, 0.6, 0.6, 0.9)]), "CPU")


def saved(image, path, **options):
    image.save(path, **options)
    return read_photo(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(picture, tmp_path, orientation):
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's transpositions that lay the upright picture down
    lying = picture.transpose(Image.Transpose(back[orientation])) if orientation in back else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = saved(lying, tmp_path / "photo.png", exif=exif)
    assert np.array_equal(to_bgr(photo[0])[..., ::-1], np.asarray(picture))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "I;16", "I"])
def test_every_mode_comes_out_as_the_same_rgb(picture, tmp_path, mode):
    grey = picture.convert("L")
    if mode in ("I;16", "I"):
        deep = np.asarray(grey).astype(np.uint16) * 257
        image = Image.fromarray(deep if mode == "I;16" else deep.astype(np.int32))
    else:
        image = picture.convert(mode)
    photo = saved(image, tmp_path / f"photo.{'tif' if mode in ('CMYK', 'YCbCr', 'I') else 'png'}")
    wanted = {
        "P": image.convert("RGB"),
        "1": image.convert("RGB"),
        "I;16": grey.convert("RGB"),
        "I": grey.convert("RGB"),
        "L": grey.convert("RGB"),
        "LA": grey.convert("RGB"),
    }.get(mode, picture)
    assert photo.shape == (1, 64, 96, 3) and photo.dtype == torch.float32
    assert np.abs(to_bgr(photo[0])[..., ::-1].astype(int) - np.asarray(wanted)).max() <= (3 if mode == "YCbCr" else 1)


def broken(data: bytes, seed: int) -> bytes:
    dice = random.Random(seed)
    if seed % 4 == 0:
        return data[: dice.randrange(len(data))]
    if seed % 4 == 1:
        return data[:20] + dice.randbytes(dice.randrange(3000))
    changed = bytearray(data)
    for _ in range(seed % 30 + 1):
        changed[dice.randrange(len(changed) if seed % 4 == 2 else min(200, len(changed)))] = dice.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_two_hundred_broken_pictures(picture, face_analysis, tmp_path, kind):
    """Forty of each kind: a clear error, or a picture that can be looked at; quick, and nothing is left behind."""
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    path = tmp_path / f"photo.{kind.lower()}"
    refused = 0
    for seed in range(40):
        path.write_bytes(broken(buffer.getvalue(), seed))
        began = time.monotonic()
        try:
            photo = read_photo(path)
        except FaceGenError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            assert photo.ndim == 4 and photo.shape[3] == 3 and photo.min() >= 0 and photo.max() <= 1
            if photo.numel() < 10**8:
                face_analysis.detect(to_bgr(photo[0]))
        assert time.monotonic() - began < 20
    assert refused >= 10
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
