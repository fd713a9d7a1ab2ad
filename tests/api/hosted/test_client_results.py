"""The client once a request is taken: polling, pictures, time limits, and the key in none of it."""

import asyncio
import base64
import io
import json
import re
import struct
import time
import traceback
import zlib

import numpy as np
import pytest
from PIL import Image

from facegen.api.hosted import face_photo, result_images
from facegen.api.hosted.profiles import Profile
from facegen.api.hosted.refusals import NotFetchedError, RemoteError
from facegen.api.hosted.result_images import from_bytes, from_text, to_batch
from facegen.picture_file import PictureError
from modelslab_client import client, generate, is_colour, request
from modelslab_server import FAILED, KEY, RATE, RED, Reply, Reset, b64, error, png, processing, success

# --- after the work is taken


@pytest.mark.parametrize(
    "fault",
    [
        Reset("after"),
        Reply("<html>Bad Gateway</html>", 502),
        Reply("<html>no</html>", 404),
        Reply(b"garbage"),
        Reply(success("x"), length=5000),
        Reply(success("x"), length=10),
        Reply(RATE, 429),
        Reply(RATE | {"retry_after": 0.02}),
        Reply(error("Internal error"), 500),
        Reply(error("busy", retry_after=0.02), 503),
        Reply(error("Timeout"), 408),
        Reply(error("Timeout"), 499),
        {"status": "success", "id": 1, "output": ""},
    ],
)
def test_a_fault_while_fetching_is_outlived(service, fault):
    service.fetches = [fault, fault, success(service.link())]
    assert is_colour(generate(service).pictures, RED)
    assert (service.billed, len(service.bodies), len(service.fetched)) == (1, 1, 3)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (FAILED, r"could not do this request 123: Failed, Try Again"),
        (Reply(error("Request not found"), 404), "could not do this.*Request not found.*fetched by the id 123"),
        (Reply(error("Invalid API key"), 401), "refuses the API key.*fetched by the id 123"),
        (Reply("<html>", 403), "refuses the API key.*fetched by the id 123"),
        ({"status": "success", "output": []}, "says success and gives no picture.*fetched by the id 123"),
        (success("!!! no picture !!!"), "picture 1: This is neither a link nor base64.*fetched by the id 123"),
        (success(b64(b"not a picture at all")), "is no JPEG, PNG, WebP.* picture.*fetched by the id 123"),
        (success("data:text/plain,hello"), "neither a link nor base64.*fetched by the id 123"),
        (success(*["http://192.168.0.1/x"] * 17), "names 17 pictures.*fetched by the id 123"),
        (success("http://192.168.0.1/x.png"), "192.168.0.1 is not a public address.*fetched by the id 123"),
        (success("http://LOCAL/gone"), "answers 404.*fetched by the id 123.*pictures are to be at http"),
    ],
)
def test_the_id_is_kept_in_the_error(service, answer, says):
    text = lambda body: json.loads(json.dumps(body).replace("LOCAL", service.url[7:]))  # noqa: E731
    service.fetches, ids = [text(answer) if isinstance(answer, dict) else answer], []
    with pytest.raises(RemoteError, match=says) as raised:
        generate(service, ids=ids)
    assert (raised.value.request_id, ids) == (123, [123])
    assert isinstance(raised.value, NotFetchedError) == ("fetched by the id 123" in str(raised.value))
    assert (service.billed, len(service.bodies)) == (1, 1)


def test_work_that_takes_too_long_ends_with_its_id_and_one_last_look(service):
    service.polls = 10**6
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=r"still in work, after 1 seconds \(timeout\). They can be fetched by the id 123"):
        generate(service, seconds=1.0)
    assert 1 < time.monotonic() - begin < 60
    service.polls, service.fetched, service.submits = 0, [], [processing(eta=300)]
    assert is_colour(generate(service, seconds=0.3).pictures, RED), "an eta beyond the time limit still gets a last look"
    assert len(service.fetched) == 1


def test_taken_without_an_id_says_where_the_pictures_will_be(service):
    service.submits = [{"status": "processing", "output": "", "future_links": [service.link()]}]
    with pytest.raises(RemoteError, match=f"gave no id.*are to be at {service.link()}"):
        generate(service)
    assert service.billed == 1


def fault_drips(fault):
    return isinstance(fault, Reply) and fault.drip


@pytest.mark.parametrize(
    "fault",
    [
        Reply("gone", 404),
        Reset(),
        Reply(png(), length=10**5),
        Reply(png(), drip=0.05),
        Reply("<html>", 500),
        Reply(png(), 206),
        Reply(png()[:90]),
        Reply("<html>"),
    ],
)
def test_a_picture_that_comes_late_is_fetched_again(service, fault):
    service.files["/result/a"], service.patience = [fault, fault, Reply(png())], 1 if fault_drips(fault) else 30
    assert is_colour(generate(service).pictures, RED)
    assert service.billed == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Reply(b"x" * (2 << 20)), "more than 1 MB"),
        (Reply(b"x" * (2 << 20), headers={"Content-Length": "2097152"}), "more than 1 MB"),
        (Reply(png(), drip=0.05), "within 1 seconds"),
        (Reply(png()[:100]), "picture is damaged"),
        (Reply(png(), length=100), "(picture is damaged|broke off)"),
        (Reply("<html>sorry</html>"), "begin '<html>sorry"),
        (Reply(b""), "0 bytes"),
        (Reply("", 302, {"Location": "http://10.0.0.1/"}), "10.0.0.1 is not a public address"),
    ],
)
def test_a_picture_that_cannot_be_had_is_an_error_with_the_id(service, fault, says):
    service.files["/result/a"], service.patience = [fault], 1 if fault_drips(fault) else 30
    with pytest.raises(RemoteError, match=f"picture 1: .*{says}.*fetched by the id 123"):
        generate(service)
    assert service.billed == 1


def test_the_hosted_service_may_not_lead_to_this_machine(service, monkeypatch):
    """Only a server that the user configured may give links to private addresses."""
    monkeypatch.setattr("facegen.api.hosted.client.HOSTED", service.url)
    with pytest.raises(NotFetchedError, match="127.0.0.1 is not a public address"):
        generate(service)
    assert service.downloaded == []


@pytest.mark.parametrize("when", ["submit", "poll", "download"])
def test_cancelling_ends_at_once_in_every_phase(service, when):
    slow = Reply(processing(), delay=600)
    service.submits = [slow] if when == "submit" else []
    service.fetches = [slow] if when == "poll" else []
    service.files["/result/a"] = [Reply(png(), drip=60)] if when == "download" else [Reply(png())]

    async def cancel():
        task = asyncio.create_task(client(service, 600).generate(request()))
        await asyncio.sleep(0.3)
        assert not task.done()
        task.cancel()
        begin = time.monotonic()
        await asyncio.wait({task})
        return time.monotonic() - begin

    assert asyncio.run(cancel()) < 60
    assert len(service.bodies) == 1


def test_progress_says_state_time_eta_and_id(service):
    service.submits = [processing(eta=20)]
    remote = client(service)

    async def look():
        task = asyncio.create_task(remote.generate(request()))
        while not str(remote.progress).startswith("in work"):
            assert not task.done()
            await asyncio.sleep(0.02)
        task.cancel()
        return str(remote.progress)

    assert re.fullmatch("in work, [0-5] s, about (20|1[5-9]) s left, request 123", asyncio.run(look()))


# --- the key


@pytest.mark.parametrize(
    "answer",
    [
        Reply(error(f"Invalid API key {KEY}")),
        Reply(error({"key": [f"{KEY} is wrong"], KEY: ["x"]}), 401),
        Reply(f"<html>your key {KEY} and {KEY.upper()} is wrong</html>", 502),
        Reply("sk-facegen-0123456789%2Fabc%2BDEF", 200),
        Reply("<html>" + "x" * 90 + KEY, 200),  # of which a message has just the begin
        Reply({"status": KEY}),
        Reply(KEY, 404),
        Reply(error(f"key={KEY}"), 500),
        Reset("after"),
    ],
)
def test_no_error_holds_the_key(service, answer):
    service.submits = [answer]
    with pytest.raises(RemoteError) as raised:
        generate(service)
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value.args) + repr(raised.value.__dict__)
    cause = raised.value
    while cause := cause.__context__:
        shown += repr(cause) + str(cause)
    assert_no_key(shown)
    assert_no_key(repr(Profile("test", KEY)))


def test_the_response_holds_no_key(service):
    service.submits = [success(b64(png()), meta={"key": KEY, "echo": [f"a{KEY}b"], KEY: 1}, tip=f"your key {KEY}")]
    response = generate(service).response
    assert response["meta"] == {"key": "***", "echo": ["a***b"], "***": 1}
    assert_no_key(json.dumps(response))


def test_the_key_goes_into_bodies_of_the_service_alone(service):
    generate(service)
    assert service.downloaded == ["/result/a"]
    assert_no_key("".join(service.heads))


def assert_no_key(text):
    assert KEY.lower() not in text.lower() and "0123456789" not in text


# --- pictures, without a server


def test_the_face_leaves_small_and_bare():
    noise = np.random.default_rng(0).integers(0, 256, (2600, 3000, 3), np.uint8)
    uri = face_photo.to_data_uri(noise)
    assert len(uri) < 4_700_000 and uri.startswith("data:image/jpeg;base64,")
    jpeg = base64.b64decode(uri.partition(",")[2])
    with Image.open(io.BytesIO(jpeg)) as image:
        assert max(image.size) <= 2048 and abs(image.width / image.height - 3000 / 2600) < 0.01
        assert not image.getexif() and not set(image.info) - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    small = face_photo.to_data_uri(np.full((30, 40, 3), 77, np.uint8))
    assert np.abs(from_text(small) * 255 - 77).max() < 2 and from_text(small).shape == (30, 40, 3)


def test_a_request_beyond_five_megabytes_is_not_sent(service):
    with pytest.raises(RemoteError, match="Shorten the prompts"):
        generate(service, negative_prompt="x" * 5_000_000)
    assert service.connections == 0


def test_pictures_are_capped_before_they_are_unpacked():
    def claims(side):  # of a PNG whose header says so
        header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        return png()[:12] + header + struct.pack(">I", zlib.crc32(header)) + png()[33:]

    assert from_bytes(claims(96)[:12] + png()[12:]).shape == (96, 64, 3)
    with pytest.raises(PictureError, match="more than 16 million pixels"):
        from_bytes(claims(5000))
    with pytest.raises(PictureError, match="more than"):
        from_bytes(claims(20_000))
    with pytest.raises(PictureError, match="more than 20 MB"):
        from_text("A" * (40 << 20))


def test_orientation_and_alpha_of_a_result():
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (40, 20), RED).save(file, "JPEG", exif=exif)
    assert from_bytes(file.getvalue()).shape == (40, 20, 3)
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (*RED, 255)).save(file, "WEBP", lossless=True)
    assert is_colour(from_bytes(file.getvalue()), RED)


def test_one_size_is_left_as_it_is():
    pictures = [np.random.default_rng(n).random((8, 6, 3), dtype=np.float32) for n in range(3)]
    assert np.array_equal(to_batch(pictures), np.stack(pictures))


def test_a_wide_and_a_high_picture_make_no_huge_batch(monkeypatch):
    monkeypatch.setattr(result_images, "MAX_PIXELS", 10_000)
    wide, high = np.ones((100, 200, 3), np.float32), np.ones((200, 100, 3), np.float32)
    batch = to_batch([wide, high])
    assert batch.shape == (2, 100, 100, 3)
    assert batch[0, 40:60].min() > 0.9 and not batch[0, :20].any() and not batch[1, :, :20].any(), "shapes are kept"
    assert to_batch([wide[:50, :50]]).shape == (1, 50, 50, 3)
