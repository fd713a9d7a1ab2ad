"""Photos as they come to the local API: in every kind and encoding, none at all, uploaded before."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from facegen.api.local.routes.paths import UPLOADS
from local_api_server import BODY, KEY, data_uri
from pictures import HEIC


def test_a_photo_of_an_iphone_is_told_what_to_do(any_server):
    text = base64.b64encode(HEIC).decode()
    for photo in (text, f"data:image/heic;base64,{text}", f"data:image/jpeg;base64,{text}"):
        answer = any_server.submit({**BODY, "face_image": photo})
        assert "It is a HEIC picture" in answer["message"]["face_image"][0], answer
        for path, name in UPLOADS.items():
            assert "Save it as JPEG first." in any_server.post(path, {name: photo})[1]["message"][name][0]


def test_photos_that_are_none(any_server):
    file = io.BytesIO()
    Image.new("L", (9000, 9000)).save(file, "PNG")
    whole, jpeg = (base64.b64decode(data_uri(kind=kind).partition(",")[2]) for kind in ("PNG", "JPEG"))
    wrong = {
        "neither a link nor base64": "me.jpg",
        "no JPEG, PNG, WebP": "data:image/png;base64," + base64.b64encode(b"GIF89a" + bytes(50)).decode(),
        "damaged": base64.b64encode(whole[:60]).decode(),
        "damaged (OSError)": base64.b64encode(jpeg[:100]).decode(),
        "million": base64.b64encode(file.getvalue()).decode(),
        "not a public address, so nothing is sent there. If it may be reached, name it in allowed_hosts": "http://10.0.0.1/a",
        "not a public address": " http://localhost/face.jpg",
        "That is not a URL": "http://xn--a\0.example/face.jpg",
        "more than 20 MB": "A" * (28 << 20),
    }
    for message, photo in wrong.items():
        answer = any_server.submit({**BODY, "face_image": photo})
        assert answer["status"] == "error" and message in answer["message"]["face_image"][0], (message, answer)
    assert not any_server.made and not any(any_server.photos.glob("*"))


def test_the_ways_to_write_base64(any_server):
    """Wrapped lines, the URL-safe alphabet without padding, and a data URI that names another type than the picture has."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 31, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    plain = base64.b64encode(file.getvalue()).decode()
    assert "+" in plain and "/" in plain
    wrapped = "\r\n ".join(plain[at : at + 76] for at in range(0, len(plain), 76))
    urlsafe = base64.urlsafe_b64encode(file.getvalue()).decode().rstrip("=")
    for photo in (wrapped, urlsafe, f"data:image/jpeg;base64,{urlsafe}", f"data:application/octet-stream;base64,{plain}"):
        assert any_server.submit({**BODY, "face_image": photo})["status"] == "success"


@pytest.mark.parametrize("mode", ["grey16", "CMYK", "P", "LA", "animated"])
def test_photos_of_every_kind_keep_their_brightness(any_server, mode):
    level = np.full((30, 40), 100 * 257, dtype=np.uint16)
    image, options = Image.fromarray(level), {}
    if mode != "grey16":
        image = Image.new("RGB", (40, 30), (100,) * 3)
    if mode == "animated":
        options = {"save_all": True, "append_images": [Image.new("RGB", (40, 30), "white")]}
    elif mode != "grey16":
        image = image.convert("L").convert(mode) if mode == "LA" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG" if mode == "CMYK" else "PNG", **options)
    answer = any_server.submit({**BODY, "face_image": base64.b64encode(file.getvalue()).decode(), "base64": True})
    shade = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["output"][0]))))[0, 0, 0]
    assert abs(int(shade) - 100) < 4


def test_a_photo_lies_on_its_side(any_server):
    """EXIF orientation is applied, and no metadata is kept."""
    image, exif = Image.new("RGB", (40, 20), (250, 0, 0)), Image.Exif()
    image.paste((0, 0, 250), (0, 0, 20, 20))
    exif[0x0112], exif[0x010F] = 6, "Camera"
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=95)
    any_server.configure(enabled=True, hold_seconds=0)
    any_server.gate.clear()
    any_server.submit({**BODY, "face_image": base64.b64encode(file.getvalue()).decode()})
    any_server.wait_for(1)
    (path,) = any_server.photos.glob("*.png")
    with Image.open(path) as saved:
        assert saved.size == (20, 40) and saved.info == {} and saved.getpixel((10, 5))[2] > 200
    any_server.gate.set()


def test_a_face_as_bare_base64(any_server):
    answer = any_server.submit({**BODY, "face_image": data_uri(90).partition(",")[2], "base64": True})
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["output"][0]))))[0, 0, 0] == 90


@pytest.mark.parametrize(
    ("path", "name"), [("v6/base64_to_url", "base64_string"), ("v6/image_editing/base64_to_url", "init_image")]
)
def test_an_uploaded_face_is_used(any_server, path, name):
    (link,) = any_server.post(f"/api/{path}", {"key": KEY, name: data_uri(120)})[1]["output"]
    (url,) = any_server.submit({**BODY, "face_image": link})["output"]
    assert np.asarray(any_server.picture(url))[0, 0, 0] == 120
    error = any_server.post(f"/api/{path}", {"key": KEY, name: "no picture"})[1]
    assert error["status"] == "error" and name in error["message"]


def test_a_result_is_used_as_the_next_face(any_server):
    (first,) = any_server.submit({**BODY, "face_image": data_uri(0)})["output"]
    assert any_server.submit({**BODY, "face_image": first})["status"] == "success"


def test_the_face_is_gone_from_disk_when_the_picture_is_there(any_server):
    answer = any_server.submit(BODY)
    assert answer["status"] == "success"
    assert not any(any_server.photos.iterdir())
