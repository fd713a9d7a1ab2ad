"""Results where several fronts reach them: whole or not there, never overwritten, and looked after."""

import time

import pytest

from facegen.api.local.config_values import ConfigError
from facegen.api.local.files.folder import Folder
from facegen.api.local.files.remote import Remote
from front_process import FrontProcess
from local_api_server import data_uri
from waiting import until

pytest.importorskip("psycopg", reason="needs requirements-scale.txt")

SECRET = "0123456789abcdef" * 2
SECRET = "0123456789abcdef" * 2
PICTURE, OTHER, UPLOAD, FACE = (f"{SECRET}-{part}" for part in ("0.png", "1.png", "upload.jpg", "face.png"))


@pytest.fixture(params=["folder", "s3", "memory"])
def storage(request, tmp_path, monkeypatch):
    """Each kind of place."""
    if request.param == "folder":
        return Folder(tmp_path / "results")
    if request.param == "memory":
        return Remote(f"memory://{tmp_path.name}/results")
    s3 = request.getfixturevalue("s3")
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return Remote(f"s3://{s3.new_bucket()}/some/folder")


def test_a_file_is_what_was_put_first(storage):
    assert not storage.are_there([PICTURE])
    with pytest.raises(FileNotFoundError):
        storage.get(PICTURE)
    assert storage.put(PICTURE, b"delivered") is True
    assert storage.put(PICTURE, b"drawn again") is False
    assert storage.get(PICTURE) == b"delivered" and storage.are_there([PICTURE])
    assert not storage.are_there([PICTURE, OTHER])
    path = storage.path(PICTURE)
    assert path.read_bytes() == b"delivered" if storage.is_near else path is None
    storage.delete([OTHER, PICTURE])
    assert not storage.are_there([PICTURE]) and storage.put(PICTURE, b"new")


def test_uploads_are_counted_and_deleted_in_time(storage):
    assert storage.sizes("upload") == []
    for name in (PICTURE, UPLOAD, FACE):
        storage.put(name, b"12345")
    assert storage.sizes("upload") == [5]
    storage.delete_older_than(time.time() - 60)
    assert storage.are_there([PICTURE, UPLOAD, FACE])
    storage.delete_older_than(time.time() + 60)
    assert [storage.are_there([name]) for name in (PICTURE, UPLOAD, FACE)] == [not storage.is_near, False, False]


def test_a_place_that_can_t_be_used(monkeypatch, s3):
    with pytest.raises(ConfigError, match=r"^Results can't be kept at nosuch://…"):
        Remote("nosuch://a/b")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, s3.environ[name])
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(OSError, match="connect"):
        Remote("s3://nowhere/at/all")


@pytest.fixture(scope="module")
def bucket(s3):
    return s3.new_bucket()


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory, postgres, s3, bucket):
    """Two fronts that share a database and a bucket."""
    base, jobs = tmp_path_factory.mktemp("s3-fronts"), postgres.new_database()
    made = [FrontProcess(base / name, jobs, f"s3://{bucket}/faces", s3.environ) for name in ("one", "two")]
    yield [front.wait_until_ready() for front in made]
    for front in made:
        front.kill()


def at(front, link):
    return front.url + "/api/" + link.partition("/api/")[2]


def test_fronts_that_share_a_bucket(on_s3, s3, bucket):
    one, two = on_s3
    (link,) = one.call("/v6/base64_to_url", {"base64_string": data_uri(90)})[1]["output"]
    answer = two.submit(wait=30, face_image=at(two, link), samples=2)
    assert answer["status"] == "success", answer
    assert two.fetch(answer["id"]) == one.fetch(answer["id"]) == answer
    pictures = [[front.call(at(front, url))[1] for url in answer["output"]] for front in on_s3]
    assert pictures[0] == pictures[1] and all(picture.startswith(b"\x89PNG") for picture in pictures[0])
    assert one.call(at(one, link))[1].startswith(b"\xff\xd8")
    names = s3.names(bucket)
    assert [name.split("/")[1] for name in names] == ["results", "results", "uploads"], "and no photo is left"
    encoded = one.submit(wait=30, base64=True)
    assert encoded["output"] == two.fetch(encoded["id"])["output"]
    assert two.call(at(two, encoded["proxy_links"][0]))[1].decode() == encoded["output"][0]
    assert not [file for front in on_s3 for file in front.base.rglob("*.png")], "nothing stays at a front"


def test_a_photo_in_a_bucket_is_drawn_from_when_its_front_dies(on_s3, s3, bucket):
    one, two = on_s3
    identifier = one.submit(prompt="sleep 2", seed=9)["id"]
    until(lambda: any("/faces/" in name for name in s3.names(bucket)), 20)
    one.kill()
    assert two.fetch(identifier, wait=30)["status"] == "success"
    until(lambda: not any("/faces/" in name for name in s3.names(bucket)))
    one.start()
    one.wait_until_ready()


def test_the_place_is_away_for_a_while(on_s3, s3, bucket):
    """At the end of the file, for the server forgets what it had."""
    one, two = on_s3
    done = one.submit(wait=30)
    identifier = one.submit(prompt="sleep 2")["id"]
    s3.stop()
    try:
        status, answer = two.call("/api/v6/image_editing/face_gen", {"prompt": "x", "face_image": data_uri()}, timeout=90)
        assert status == 503 and answer["status"] == "error" and "can't use its files" in answer["message"]
        assert two.fetch(identifier)["status"] == "processing" and one.fetch(done["id"]) == done
    finally:
        s3.start()
        s3.new_bucket(bucket)
    assert one.fetch(identifier, wait=60)["status"] == "success", "it was drawn meanwhile, and waited to be delivered"
