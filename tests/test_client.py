"""The client of the hosted service against a loopback server: the right picture or the right error, and billed once at most."""

import asyncio
import base64
import io
import json
import struct
import time
import traceback
import zlib

import numpy as np
import pytest
from PIL import Image

from facegen.api import face_photo
from facegen.api.client import FaceGenClient, Pace, RemoteError
from facegen.api.contract import FaceGenRequest
from facegen.api.download import Limits
from facegen.api.profiles import Profile
from facegen.api.result_images import PictureError, from_bytes, from_text, to_batch
from modelslab_server import BLUE, KEY, RED, ModelsLabServer, Reply, Reset, b64, error, png, processing, success

FACE = face_photo.to_data_uri(np.full((64, 64, 3), 90, np.uint8))
QUICK = Pace(first=0.02, longest=0.05, least=0.01, longest_eta=0.5)
FAILED = {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""}
RATE = error("Rate limit exceeded. Maximum 5 queued requests allowed.")


@pytest.fixture
def service():
    with ModelsLabServer() as server:
        yield server


def request(**changes):
    return FaceGenRequest(prompt="a woman", face_image=FACE, base64=True, **changes)


def client(service, seconds=5.0, key=KEY, url=None, family="v6", ids=None, **more):
    profile = Profile("test", key, family, url or service.url, "the test")
    told = [] if ids is None else ids
    return FaceGenClient(profile, seconds, told.append, QUICK, Limits(seconds=0.5, bytes=1 << 20), **more)


def generate(service, seconds=5.0, url=None, key=KEY, family="v6", ids=None, **changes):
    return asyncio.run(client(service, seconds, key, url, family, ids).generate(request(**changes)))


def is_colour(picture, colour):
    return np.abs(picture - np.float32(colour) / 255).max() < 0.02


# --- from submit to picture


@pytest.mark.parametrize(
    ("family", "paths"),
    [("v6", "/api/v6/image_editing/"), ("enterprise", "/api/v1/enterprise/image_editing/")],
)
def test_a_request_is_submitted_polled_and_its_picture_fetched(service, family, paths):
    service.submits, ids = [processing(7)], []
    result = generate(service, family=family, ids=ids, samples=2, seed=5)
    assert result.pictures.shape == (2, 96, 64, 3) and result.pictures.dtype == np.float32
    assert is_colour(result.pictures[0], RED) and is_colour(result.pictures[1], BLUE)
    assert [head.split(" ", 2)[1] for head in service.heads] == [
        f"{paths}face_gen", f"{paths}fetch/7", f"{paths}fetch/7", "/result/a", "/result/b"]  # fmt: skip
    assert service.bodies == [{"key": KEY, **request(samples=2, seed=5).as_dict()}]
    assert [body for _, body in service.fetched] == [{"key": KEY}] * 2
    assert (service.billed, ids) == (1, [7])
    assert result.response["status"] == "success" and result.response["output"] == [service.link(), service.link("/result/b")]


def outputs(service):
    """Every form of output in the contract, with what it must become."""
    jpeg = io.BytesIO()
    Image.new("RGB", (64, 96), RED).save(jpeg, "JPEG", quality=95)
    service.files |= {
        "/result/x.base64": [Reply(b64(png()))],
        "/result/uri": [Reply("data:image/png;base64," + b64(png()))],
        "/result/jpeg": [Reply(jpeg.getvalue())],
    }
    return {
        "list of a link without ending": success(service.link()),
        "a string": {"status": "success", "id": 1, "output": service.link()},
        "proxy_links alone": {"status": "success", "id": 1, "output": [], "proxy_links": [service.link()]},
        "data URI": success("data:image/png;base64," + b64(png())),
        "data URI as string": {"status": "success", "id": "x-1", "output": "data:image/png;base64," + b64(png())},
        "raw base64": success(b64(png())),
        "raw base64 in lines": success(base64.encodebytes(png()).decode()),
        "raw base64, urlsafe, unpadded": success(base64.urlsafe_b64encode(png()).decode().rstrip("=")),
        "link to base64": success(service.link("/result/x.base64")),
        "link to a data URI": success(service.link("/result/uri")),
        "JPEG": success(service.link("/result/jpeg")),
        "HTTP 500 with success": Reply(success(service.link()), code=500),
        "no id": {"status": "success", "output": [service.link()]},
    }


@pytest.mark.parametrize("form", list(outputs(ModelsLabServer())))
def test_every_form_of_output(service, form):
    service.submits = [outputs(service)[form]]
    result = generate(service)
    assert result.pictures.shape == (1, 96, 64, 3) and is_colour(result.pictures, RED)
    assert (service.billed, len(service.bodies), service.fetched) == (1, 1, [])
    assert max(len(output) for output in result.response["output"]) < 100, "pictures are not in the response's text"


@pytest.mark.parametrize(
    "answer",
    [
        processing("uuid-1"),
        {"status": "processing", "messege": "wait", "output": "", "id": "uuid-1"},
        processing("uuid-1", eta="0.01", output=[], proxy_links=[]),
        processing(None, fetch_result="OWN/api/v6/image_editing/fetch/uuid-1"),
        Reply(processing("uuid-1"), code=202),
        Reply(processing("uuid-1"), code=503),
        {"status": "success", "id": "uuid-1", "output": []},
        {"status": "success", "id": "uuid-1", "output": ""},
        processing("uuid-1", fetch_result="https://elsewhere.example/api/v6/image_editing/fetch/uuid-1"),
        processing("uuid-1", fetch_result="http://127.0.0.1:1/fetch/uuid-1"),
        processing("uuid-1", fetch_result="http://[bad"),
        processing("uuid-1", eta=1e12),
    ],
)
def test_every_form_of_processing(service, answer):
    service.submits = [json.loads(json.dumps(answer).replace("OWN", service.url)) if isinstance(answer, dict) else answer]
    result = generate(service)
    assert is_colour(result.pictures, RED)
    assert {path for path, _ in service.fetched} == {"/api/v6/image_editing/fetch/uuid-1"}, "the key goes to the profile's host"
    assert (service.billed, len(service.bodies)) == (1, 1)


def test_the_first_fetch_waits_for_the_eta_and_the_others_back_off(service):
    service.polls, service.submits = 3, [processing(eta=0.3)]
    begin = time.monotonic()
    generate(service)
    assert 0.3 < time.monotonic() - begin < 3
    waits = [Pace().wait(number) for number in range(8) for _ in range(20)]
    assert min(waits) >= 1.5 and max(waits) <= 15 * 1.25 and len(set(waits)) > 100
    assert min(Pace().wait(5) for _ in range(20)) > max(Pace().wait(0) for _ in range(20))


def test_pictures_of_different_sizes_become_one_batch(service):
    service.files["/result/b"] = [Reply(png((64, 32), BLUE))]
    result = generate(service, samples=2)
    assert result.pictures.shape == (2, 96, 64, 3)
    assert is_colour(result.pictures[0], RED)
    assert is_colour(result.pictures[1, 32:64], BLUE)
    assert result.pictures[1, :32].max() == 0 and result.pictures[1, 64:].max() == 0


def test_paid_work_is_fetched_by_its_id_without_a_submit(service):
    result = asyncio.run(client(service).fetch("55"))
    assert is_colour(result.pictures, RED)
    assert (service.billed, service.bodies) == (0, [])
    assert {path for path, _ in service.fetched} == {"/api/v6/image_editing/fetch/55"}


@pytest.mark.parametrize("bad", ["a/b", "../x", "1?key=2", "", "x" * 101, "1 2", "é"])
def test_what_is_no_id_is_not_asked_for(service, bad):
    with pytest.raises(RemoteError, match="request_id"):
        asyncio.run(client(service).fetch(bad))
    assert service.connections == 0


# --- what is sent again, and what never is


def test_no_connection_then_one_is_sent_once(service):
    service.hang_up()
    service.listen_later(0.05)
    assert is_colour(generate(service).pictures, RED)
    assert (service.billed, len(service.bodies)) == (1, 1)


def test_no_connection_at_all_says_that_nothing_was_sent(service):
    service.hang_up()
    with pytest.raises(RemoteError, match="Nothing was sent: no connection to 127.0.0.1") as raised:
        generate(service, seconds=0.4)
    assert "Nothing was billed" in str(raised.value)


def test_a_tls_handshake_that_fails_sent_nothing(service):
    with pytest.raises(RemoteError, match="Nothing was sent: no secure connection"):
        generate(service, url=service.url.replace("http:", "https:"))
    assert (service.billed, service.bodies) == (0, [])


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(RATE, 429),
        Reply(RATE | {"retry_after": 0.05}, 429),
        Reply(RATE | {"retry_after": 0.05}),
        Reply(RATE),
        Reply({"status": "error", "messege": "Server busy", "retry_after": "0.05"}),
        Reply(error("try again later"), 503),
        Reply(error("try again later", retry_after=0.05), 503),
        Reply("<html>Too Many Requests</html>", 429),
        Reply("<html>Too Many Requests</html>", 429, {"Retry-After": "0"}),
        Reply("<html>overloaded</html>", 503, {"Retry-After": "0"}),
    ],
)
def test_a_refusal_for_now_is_sent_again(service, refusal):
    service.submits = [refusal, refusal, success(service.link())]
    begin = time.monotonic()
    assert is_colour(generate(service).pictures, RED)
    assert (service.billed, len(service.bodies)) == (1, 3)
    asked = refusal.body.get("retry_after") if isinstance(refusal.body, dict) else None
    assert time.monotonic() - begin > 2 * float(asked or 0.01)


def test_a_refusal_for_longer_than_there_is_time_ends_at_once(service):
    service.submits = [Reply(RATE | {"retry_after": 3000}, 429)]
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=r"refuses more requests for now \(HTTP 429\): Rate limit.*in 3000 seconds"):
        generate(service)
    assert time.monotonic() - begin < 2 and (service.billed, len(service.bodies)) == (0, 1)


def test_refusals_without_end_do(service):
    service.submits = [Reply(RATE, 429)]
    with pytest.raises(RemoteError, match="Nothing was billed, tries: 8"):
        generate(service, seconds=30)
    assert (service.billed, len(service.bodies)) == (0, 8)


@pytest.mark.parametrize(
    ("step", "billed", "arrived"),
    [
        (Reset("headers"), 0, 0),
        (Reset("after"), 1, 1),
        (Reply(processing(), length=5000), 1, 1),
        (Reply(processing(), length=20), 1, 1),
        (Reply(b"\x00\xff garbage", billed=True), 1, 1),
        (Reply(b"", billed=True), 1, 1),
        (Reply("[1, 2]", billed=True), 1, 1),
        (Reply('"text"', billed=True), 1, 1),
        (Reply("[" * 100_000, billed=True), 1, 1),
        (Reply("{}", billed=True), 1, 1),
        (Reply({"status": "queued"}, billed=True), 1, 1),
        (Reply({"status": ["success"]}, billed=True), 1, 1),
        (Reply("<html><h1>Bad Gateway</h1></html>", 502, billed=True), 1, 1),
        (Reply("<html>unavailable</html>", 503, billed=True), 1, 1),
        (Reply("<html>It works</html>", 200, billed=True), 1, 1),
        (Reply(error("Server error"), 500, billed=True), 1, 1),
        (Reply(processing(), drip=0.05), 1, 1),
        (Reply(processing(), delay=3), 1, 1),
        (Reply(processing(), headers={"Content-Length": "nonsense"}), 1, 1),
        (Reply(processing(), headers={"Content-Encoding": "gzip"}), 1, 1),
    ],
)
def test_sent_without_an_answer_is_never_sent_again(service, step, billed, arrived):
    service.submits = [step, success(service.link())]
    with pytest.raises(RemoteError, match="It may have been billed, so it was not sent again"):
        generate(service, seconds=1.0)
    assert (service.billed, len(service.bodies), service.connections) == (billed, arrived, 1)


def test_a_reset_on_accepting_is_never_taken_for_an_answer(service):
    """Whether the client was done connecting by then is a matter of luck, and so is what it can know."""
    service.submits = [Reset("connect")]
    with pytest.raises(RemoteError, match=r"It may have been billed|Nothing was sent.*Nothing was billed"):
        generate(service, seconds=1.0)
    assert (service.billed, service.bodies) == (0, [])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            Reply(error("Invalid API Key")),
            r"refuses the API key: Invalid API Key. Correct the key in the test \(profile test\)",
        ),
        (Reply(error("Nope"), 401), "refuses the API key"),
        (Reply("<html>Forbidden</html>", 403), "refuses the API key"),
        (Reply(error("You have insufficient credits, please upgrade"), 200), "can't pay for this.*Add credits"),
        (Reply(error("Out of order"), 402), "can't pay for this"),
        (Reply(error("Monthly limit reached", retry_after=1), 429), "can't pay for this"),
        (Reply(error("No face detected in the image")), "refuses the picture.*one sharp photo"),
        (Reply(error({"face_image": ["The face_image must be a valid image."]}), 400), "refuses the picture"),
        (Reply(error({"prompt": ["The prompt field is required."]})), "could not do this: The prompt field is required"),
        (Reply(FAILED), "could not do this: Failed, Try Again"),
        (Reply(FAILED | {"id": 9, "retry_after": 0.01}), "request 9"),
        (Reply(FAILED | {"retry_after": 0.01}), "could not do this"),
        (Reply(error("queued", retry_after=0.01, id=9)), "request 9"),
        (Reply({"status": "error", "messege": "Bad width"}), "Bad width"),
        (Reply({"status": "error"}), "no reason is given"),
        (Reply("not found", 404), r"could not do this \(HTTP 404\)"),
        (Reply("", 307, {"Location": "http://127.0.0.1:1/"}), "answers with a redirect .307.. Correct the profile's base_url"),
        (Reply(error("x" * 10_000)), "…"),
    ],
)
def test_refusals_name_the_cure_and_are_not_sent_again(service, answer, says):
    service.submits = [answer, success(service.link())]
    with pytest.raises(RemoteError, match=says) as raised:
        generate(service)
    assert (service.billed, len(service.bodies), service.connections) == (0, 1, 1)
    assert len(str(raised.value)) < 1200


def test_an_answer_without_end_is_cut_off(service, monkeypatch):
    monkeypatch.setattr("facegen.api.exchange.MAX_ANSWER", 1 << 20)
    service.submits = [success("x" * (3 << 20))]
    with pytest.raises(RemoteError, match="more than 1 MB. It may have been billed"):
        generate(service)
    assert len(service.bodies) == 1


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
        (Reply(error("Request not found"), 404), "could not do this.*Request not found.*Set request_id to 123"),
        (Reply(error("Invalid API key"), 401), "refuses the API key.*Set request_id to 123"),
        (Reply("<html>", 403), "refuses the API key.*Set request_id to 123"),
        ({"status": "success", "output": []}, "says success and gives no picture.*Set request_id to 123"),
        (success("!!! no picture !!!"), "picture 1: This is neither a link nor base64.*Set request_id to 123"),
        (success(b64(b"not a picture at all")), "no whole PNG"),
        (success("data:text/plain,hello"), "neither a link nor base64"),
        (success(*["http://192.168.0.1/x"] * 17), "names 17 pictures"),
        (success("http://192.168.0.1/x.png"), "192.168.0.1 is not a public address.*Set request_id to 123"),
        (success("http://LOCAL/gone"), "answers 404.*Set request_id to 123.*pictures are to be at http"),
    ],
)
def test_the_id_is_kept_in_the_error(service, answer, says):
    text = lambda body: json.loads(json.dumps(body).replace("LOCAL", service.url[7:]))  # noqa: E731
    service.fetches, ids = [text(answer) if isinstance(answer, dict) else answer], []
    with pytest.raises(RemoteError, match=says) as raised:
        generate(service, ids=ids)
    assert (raised.value.request_id, ids) == (123, [123])
    assert (service.billed, len(service.bodies)) == (1, 1)


def test_work_that_takes_too_long_ends_with_its_id_and_one_last_look(service):
    service.polls = 10**6
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=r"still in work, after 1 seconds \(timeout\). Set request_id to 123"):
        generate(service, seconds=1.0)
    assert 1 < time.monotonic() - begin < 3
    service.polls, service.fetched, service.submits = 0, [], [processing(eta=300)]
    assert is_colour(generate(service, seconds=0.3).pictures, RED), "an eta beyond the time limit still gets a last look"
    assert len(service.fetched) == 1


def test_taken_without_an_id_says_where_the_pictures_will_be(service):
    service.submits = [{"status": "processing", "output": "", "future_links": [service.link()]}]
    with pytest.raises(RemoteError, match=f"gave no id.*are to be at {service.link()}"):
        generate(service)
    assert service.billed == 1


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
    service.files["/result/a"] = [fault, fault, Reply(png())]
    assert is_colour(generate(service).pictures, RED)
    assert service.billed == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Reply(b"x" * (2 << 20)), "more than 1 MB"),
        (Reply(b"x" * (2 << 20), headers={"Content-Length": "2097152"}), "more than 1 MB"),
        (Reply(png(), drip=0.05), "within 0.5 seconds"),
        (Reply(png()[:100]), "no whole PNG"),
        (Reply(png(), length=100), "(no whole PNG|broke off)"),
        (Reply("<html>sorry</html>"), "begin '<html>sorry"),
        (Reply(b""), "0 bytes"),
        (Reply("", 302, {"Location": "http://10.0.0.1/"}), "10.0.0.1 is not a public address"),
    ],
)
def test_a_picture_that_cannot_be_had_is_an_error_with_the_id(service, fault, says):
    service.files["/result/a"] = [fault]
    with pytest.raises(RemoteError, match=f"picture 1: .*{says}.*Set request_id to 123"):
        generate(service)
    assert service.billed == 1


def test_the_hosted_service_may_not_lead_to_this_machine(service):
    """Only a server that the user configured may give links to private addresses."""
    remote = client(service, url="https://modelslab.com")
    with pytest.raises(Exception, match="127.0.0.1 is not a public address"):
        asyncio.run(remote._picture(service.link()))
    assert service.downloaded == []


@pytest.mark.parametrize("when", ["submit", "poll", "download"])
def test_cancelling_ends_at_once_in_every_phase(service, when):
    slow = Reply(processing(), delay=30)
    service.submits = [slow] if when == "submit" else []
    service.fetches = [slow] if when == "poll" else []
    service.files["/result/a"] = [Reply(png(), drip=10)] if when == "download" else [Reply(png())]

    async def cancel():
        task = asyncio.create_task(client(service, 60).generate(request()))
        await asyncio.sleep(0.3)
        assert not task.done()
        task.cancel()
        begin = time.monotonic()
        await asyncio.wait({task})
        return time.monotonic() - begin

    assert asyncio.run(cancel()) < 1
    assert len(service.bodies) == 1


def test_progress_says_state_time_eta_and_id(service):
    service.submits = [processing(eta=20)]
    remote = client(service)

    async def look():
        task = asyncio.create_task(remote.generate(request()))
        await asyncio.sleep(0.2)
        task.cancel()
        return str(remote.progress)

    assert asyncio.run(look()) == "in work, 0 s, about 20 s left, request 123"


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
    with pytest.raises(PictureError, match="5000x5000 pixels, too many"):
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
