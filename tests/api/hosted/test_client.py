"""The client of the hosted service against a loopback server: a picture or an error, and billed once at most."""

import asyncio
import base64
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from facegen.api.hosted.client import Pace
from facegen.api.hosted.refusals import MayBeBilledError, RefusedPhotoError, RemoteError
from facegen.contract import ContractError, FaceGenRequest
from local_api_server import LocalServer
from modelslab_client import FACE, client, generate, is_colour, request
from modelslab_server import BLUE, FAILED, KEY, RATE, RED, ModelsLabServer, Reply, Reset, b64, error, png, processing, success

# --- from submit to picture


@pytest.mark.parametrize(
    ("family", "paths"),
    [("v6", "/api/v6/image_editing/"), ("enterprise", "/api/v1/enterprise/image_editing/")],
)
@pytest.mark.parametrize("endpoint", ["face_gen", "head_shot"])
def test_a_request_is_submitted_polled_and_its_picture_fetched(service, family, paths, endpoint):
    service.submits, ids = [processing(7)], []
    result = generate(service, family=family, ids=ids, samples=2, seed=5, endpoint=endpoint)
    assert result.pictures.shape == (2, 96, 64, 3) and result.pictures.dtype == np.float32
    assert is_colour(result.pictures[0], RED) and is_colour(result.pictures[1], BLUE)
    assert [head.split(" ", 2)[1] for head in service.heads] == [
        f"{paths}{endpoint}",
        f"{paths}fetch/7",
        f"{paths}fetch/7",
        "/result/a",
        "/result/b",
    ]
    assert service.bodies == [{"key": KEY, **request(family, endpoint, samples=2, seed=5).as_dict()}]
    assert ("style" in service.bodies[0]) == (endpoint == "face_gen")
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


def test_links_of_an_answer_are_asked_for_as_they_were_given(service):
    """Byte for byte: they may be signed."""
    fetch, result = "/api/v6/image_editing/fetch/7?sig=%7e%2F", "/result/a%2fb%7E?X-Signature=a%2Bb%3D&n=%61+"
    service.files["/result/a%2fb%7E"] = [Reply(png())]
    service.submits, service.fetches = [processing(7, fetch_result=service.url + fetch)], [success(service.link(result))]
    assert is_colour(generate(service).pictures, RED)
    assert [head.split(" ", 2)[1] for head in service.heads][1:] == [fetch, result]


def test_the_first_fetch_waits_for_the_eta_and_the_others_back_off(service):
    service.polls, service.submits = 3, [processing(eta=0.3)]
    begin = time.monotonic()
    generate(service)
    assert 0.3 < time.monotonic() - begin < 30
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


@pytest.mark.parametrize("family", ["v6", "enterprise"])
@pytest.mark.parametrize("as_base64", [True, False])
def test_the_local_api_speaks_the_same_contract(tmp_path, family, as_base64):
    """A ComfyUI of one's own in the place of the hosted service: the same client, the same answers."""
    with LocalServer(tmp_path, enabled=True, hold_seconds=0.2, poll_seconds=0.2) as server:
        ids = []
        remote = client(None, 10, url=f"http://127.0.0.1:{server.port}", family=family, ids=ids)
        server.comfy.gate.clear()
        threading.Timer(0.6, server.comfy.gate.set).start()
        wanted = FaceGenRequest(prompt="x", face_image=FACE, base64=as_base64, width=64, height=72, samples=2, seed=9)
        result = asyncio.run(remote.generate(wanted))
        assert result.pictures.shape == (2, 72, 64, 3)
        assert is_colour(result.pictures[0], (90, 0, 0)) and is_colour(result.pictures[1], (90, 1, 0))
        assert result.response["meta"]["seed"] == 9 and len(server.comfy.prompts) == 1
        again = asyncio.run(client(None, 10, url=f"http://127.0.0.1:{server.port}", family=family).fetch(str(ids[0])))
        assert np.array_equal(again.pictures, result.pictures) and len(server.comfy.prompts) == 1


def test_a_style_that_the_service_does_not_know_is_not_sent(service):
    with pytest.raises(ContractError, match="must be one of realistic, anime, 3d, chibi, comic, got 'oil'"):
        generate(service, style="oil")
    assert (service.bodies, service.billed) == ([], 0)


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
        Reply(error("Slow down", retry_after=0.05), 429),
        Reply(RATE | {"retry_after": 0.05}),
        Reply(RATE),
        Reply(RATE, 503),
        Reply({"status": "error", "messege": RATE["message"], "retry_after": "0.05"}),
        Reply("<html>Too Many Requests</html>", 429),
        Reply("<html>Too Many Requests</html>", 429, {"Retry-After": "0"}),
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
    assert time.monotonic() - begin < 60 and (service.billed, len(service.bodies)) == (0, 1)


def test_refusals_without_end_do(service):
    service.submits = [Reply(RATE, 429)]
    with pytest.raises(RemoteError, match="Nothing was billed, tries: 8"):
        generate(service, seconds=30)
    assert (service.billed, len(service.bodies)) == (0, 8)


UNSURE = (408, 425, 499, 500, 502, 503, 504, 520, 522, 524, 598)  # the request got lost somewhere: who knows how far it came


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
        (Reply("<html>It works</html>", 200, billed=True), 1, 1),
        *((Reply("<html>it took too long</html>", code, billed=True), 1, 1) for code in UNSURE),
        *((Reply(error("It took too long", retry_after=0.01), code, billed=True), 1, 1) for code in UNSURE),
        (Reply("<html>overloaded</html>", 503, {"Retry-After": "0"}, billed=True), 1, 1),
        (Reply(RATE, 500, billed=True), 1, 1),
        (Reply(error("Too many things went wrong", retry_after=0.01), 500, billed=True), 1, 1),
        (Reply("", 303, {"Location": "/result"}, billed=True), 1, 1),
        (Reply(processing(), drip=0.05), 1, 1),
        (Reply(processing(), delay=600), 1, 1),
        (Reply(processing(), headers={"Content-Length": "nonsense"}), 1, 1),
        (Reply(processing(), headers={"Content-Encoding": "gzip"}), 1, 1),
    ],
)
def test_sent_without_an_answer_is_never_sent_again(service, step, billed, arrived):
    service.submits = [step, success(service.link())]
    is_slow = isinstance(step, Reply) and (step.drip or step.delay)
    with pytest.raises(MayBeBilledError, match="It may have been billed, so it was not sent again.*fetched by it") as raised:
        generate(service, seconds=1.0 if is_slow else 30.0)
    assert "Nothing was billed" not in str(raised.value)
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
        (Reply(FAILED | {"retry_after": 0.01}), "could not do this.*may have been billed"),
        (Reply(error("Generation failed", retry_after=0.01)), "could not do this.*may have been billed"),
        (Reply(error("Server busy", retry_after=0.01)), "could not do this.*may have been billed"),
        (Reply(error("Generation failed. Rate limit exceeded.")), "refuses more requests.*may have been billed"),
        (Reply(error("Too many faces found")), "refuses the picture.*may have been billed"),
        (Reply(error("Too many faces found", retry_after=0.01), 429), "refuses the picture"),
        (Reply(error("Too many faces found"), 500), "refuses the picture.*may have been billed"),
        (Reply(error("queued", retry_after=0.01, id=9)), "Request 9 was taken.*fetched by the id 9"),
        (Reply(RATE | {"id": 9}, 429), "Request 9 was taken.*fetched by the id 9"),
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
    assert len(str(raised.value)) < 1200 and "Nothing was billed" not in str(raised.value)
    assert isinstance(raised.value, RefusedPhotoError) == ("refuses the picture" in str(raised.value))


@pytest.mark.parametrize(
    "answer",
    [
        Reply(error("Gone \x1bc\x1b[2J\r\nwrong \u202egnp")),
        Reply(error({"\x1bc": ["bad \x9b2J"]})),
        Reply(error("no", id="7\x1bc")),
        Reply(FAILED | {"id": "7\x1bc"}),
        Reply("<html>\x1bc</html>", 502),
        processing(None, future_links=["http://a.example/\x1bc"]),
        success("http://a\x1bc.example/x"),
        success("\x1bc"),
    ],
)
def test_no_error_holds_what_a_terminal_would_obey(service, answer):
    service.submits = [answer]
    with pytest.raises(RemoteError) as raised:
        generate(service)
    assert str(raised.value).isprintable(), repr(str(raised.value))


def test_an_answer_without_end_is_cut_off(service, monkeypatch):
    monkeypatch.setattr("facegen.api.hosted.exchange.MAX_ANSWER", 1 << 20)
    service.submits = [success("x" * (3 << 20))]
    with pytest.raises(RemoteError, match="more than 1 MB. It may have been billed"):
        generate(service)
    assert len(service.bodies) == 1
