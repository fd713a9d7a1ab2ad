"""Photos that clients leave at the local API, to be named by a URL later: kept as they came, and not without end."""

import base64
import io
import json
import urllib.request

import numpy as np
import pytest
from PIL import Image, features

from facegen.api.local.files import result_files
from facegen.api.local.routes.paths import UPLOADS
from local_api_server import BODY

NAME = "base64_string"


def photo(kind="JPEG", size=(300, 400)):
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).save(file, kind)
    return file.getvalue()


@pytest.fixture
def server(any_server):
    return any_server


def upload(server, content, path="/v6/base64_to_url", name=NAME):
    return server.post(path, {name: base64.b64encode(content).decode()})


AVIF = pytest.param("AVIF", "image/avif", marks=pytest.mark.skipif(not features.check("avif"), reason="needs Pillow 11.3"))


@pytest.mark.parametrize(("kind", "media"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), AVIF])
def test_it_is_kept_as_it_came(server, kind, media):
    """As a PNG, a JPEG of 12 MB would become one of 108 MB."""
    content = photo(kind)
    (link,) = upload(server, content)[1]["output"]
    with urllib.request.urlopen(link) as answer:
        assert (answer.headers["Content-Type"], answer.read()) == (media, content)
    assert link.endswith({"JPEG": "-upload.jpg"}.get(kind, f"-upload.{kind.lower()}"))
    (kept,) = (server.config.parent / "local_api" / "results").iterdir()
    assert kept.stat().st_size == len(content)
    assert server.submit({**BODY, "face_image": link})["status"] == "success"
    for other in ("png", "jpg", "webp", "avif", "base64"):
        found = link.rpartition(".")[0] + f".{other}"
        assert server.get(found)[0] == (200 if found == link else 404)


@pytest.mark.parametrize("bound", ["MOST_UPLOADS", "MOST_UPLOAD_BYTES"])
def test_there_is_an_end(server, monkeypatch, bound):
    content = photo()
    monkeypatch.setattr(result_files, bound, 2 if bound == "MOST_UPLOADS" else 2 * len(content) + 10)
    assert [upload(server, content)[0] for _ in range(2)] == [200, 200]
    status, answer = upload(server, content)
    assert (
        status == 429
        and "2 uploads with 0 MB are kept; no more fit. Each is deleted 24 hours after it came." in answer["message"]
    )
    assert len(list((server.config.parent / "local_api" / "results").iterdir())) == 2
    assert server.submit(BODY)["status"] == "success", "requests bring their own photo"


@pytest.mark.parametrize(("path", "name"), UPLOADS.items())
@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:{}/", " http://127.0.0.1:{}/", "\n\thttp://127.0.0.1:{}/", "HTTPS://a.example/b"]
)
def test_nothing_is_fetched(server, path, name, text):
    server.configure(enabled=True, allowed_hosts=["127.0.0.1"])
    answer = server.post(path, {name: text.format(server.port)})[1]
    assert answer["status"] == "error" and f"The {name} field must be a picture as base64" in answer["message"][name][0]


@pytest.mark.parametrize("content", [b"GIF89a" + bytes(50), photo()[:200], photo("PNG")[:90], b"<svg/>", b""])
def test_what_is_no_picture_is_not_kept(server, content):
    answer = upload(server, content)[1]
    assert answer["status"] == "error" and NAME in answer["message"] and "face_image" not in json.dumps(answer)
    assert not any((server.config.parent / "local_api" / "results").iterdir())
