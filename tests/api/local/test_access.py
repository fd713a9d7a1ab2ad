"""Who may call the local API, and what it does with bodies that are none."""

import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facegen.api.local.routes.paths import CANCEL, FETCH, SUBMIT, UPLOADS
from facegen.contract import FIELDS
from facegen.nodes.host.local_api.place import comfyui_place
from local_api_server import BODY, LocalServer

SUBMIT_URL = "/api/v6/image_editing/face_gen"
TOKEN = "a-token-of-some-length"
ROUTES = [path.replace("{id}", "4711") for path in (*SUBMIT, *FETCH, *CANCEL, *UPLOADS)]


@pytest.mark.parametrize("path", ROUTES)
def test_off_by_default(tmp_path, path):
    with LocalServer(tmp_path) as server:
        status, answer = server.post(path, BODY)
        assert status == 404 and answer["status"] == "error" and "turn it on in ComfyUI's settings" in answer["message"]
        assert not server.config.exists() and not list(tmp_path.rglob("*.sqlite"))


def test_one_setting_turns_it_on_and_off(tmp_path):
    with LocalServer(tmp_path, profiles=lambda: ["default", "work"]) as server:
        off = {
            "local_api": {"enabled": False, "available": True, "reason": None},
            "modelslab": {"profiles": ["default", "work"]},
        }
        assert server.get("/facegen/settings") == (200, off)
        status, on = server.post("/facegen/settings", {"local_api": {"enabled": True}})
        assert status == 200 and on["local_api"]["enabled"]
        assert server.submit(BODY)["status"] == "success"
        assert server.post("/facegen/settings", {"local_api": {"enabled": False}}) == (200, off)
        assert server.post(SUBMIT_URL, BODY)[0] == 404
        kept = json.loads(server.config.read_text())
        assert kept["enabled"] is False and kept["webhook_secret"].startswith("whsec_")


@pytest.mark.parametrize("body", [{}, {"local_api": {"enabled": "yes"}}, {"local_api": None}, [], "on"])
def test_a_settings_body_that_is_none(shared_server, body):
    status, answer = shared_server.post("/facegen/settings", raw=json.dumps(body).encode())
    assert status == 400 and "enabled" in answer["error"]


def test_settings_beside_the_switch_are_kept(tmp_path):
    with LocalServer(tmp_path, max_queued=3, allowed_hosts=["nas.local"]) as server:
        server.post("/facegen/settings", {"local_api": {"enabled": True}})
        kept = json.loads(server.config.read_text())
        assert kept["max_queued"] == 3 and kept["allowed_hosts"] == ["nas.local"]


# --- beyond this machine


@pytest.mark.parametrize("listen", [("0.0.0.0",), ("127.0.0.1", "::"), ("192.168.1.5",), ("",)])
def test_others_can_call_so_a_token_is_needed(tmp_path, listen, caplog):
    with LocalServer(tmp_path, listen=listen, enabled=True) as server:
        assert "did not start" in caplog.text and "needs a token" in caplog.text
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 403 and "FACEGEN_API_TOKEN" in answer["message"]
        status, answer = server.post("/facegen/settings", {"local_api": {"enabled": True}})
        assert status == 409 and "needs a token" in answer["error"]
        assert not server.comfy.prompts


@pytest.mark.parametrize("from_environment", [True, False])
def test_with_a_token_the_key_has_to_be_it(tmp_path, monkeypatch, from_environment):
    if from_environment:
        monkeypatch.setenv("FACEGEN_API_TOKEN", TOKEN)
    with LocalServer(tmp_path, listen=("0.0.0.0",), enabled=True, **({} if from_environment else {"token": TOKEN})) as server:
        for key in ("", "wrong", None, 5, TOKEN[:-1], TOKEN + "x", "\ud800", [TOKEN]):
            status, answer = server.post(SUBMIT_URL, {**BODY, "key": key})
            assert status == 401 and answer["status"] == "error", key
        assert server.submit({**BODY, "key": TOKEN})["status"] == "success"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert server.submit({**BODY, "key": "wrong"}, headers=bearer)["status"] == "success"
        assert len(server.comfy.prompts) == 2
        assert TOKEN not in json.dumps(server.comfy.prompts) + json.dumps(server.get("/facegen/settings")[1])


def test_a_short_token_is_refused(tmp_path):
    with LocalServer(tmp_path, enabled=True, token="short") as server:
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 503 and "fewer than 16 characters" in answer["message"]


@pytest.mark.parametrize(
    ("listen", "loopback", "url"),
    [
        (("127.0.0.1",), True, "http://127.0.0.1:81"),
        (("127.0.0.9", "::1"), True, "http://127.0.0.9:81"),
        (("localhost",), True, "http://localhost:81"),
        (("0.0.0.0", "::"), False, "http://127.0.0.1:81"),
        (("::",), False, "http://[::1]:81"),
        (("10.0.0.5",), False, "http://10.0.0.5:81"),
        (("10.0.0.5", "127.0.0.1"), False, "http://127.0.0.1:81"),
    ],
)
def test_where_comfyui_listens(tmp_path, listen, loopback, url):
    place = comfyui_place(listen, 81, False, tmp_path, tmp_path)
    assert (place.is_loopback, place.url) == (loopback, url)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8188", 200),
        ("[::1]:99", 200),
        ("192.168.7.7", 200),
        ("faces.example.org", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("a@b:c", 403),
        ("[::1", 403),
    ],
)
def test_the_host_header_is_checked(tmp_path, host, status):
    with LocalServer(tmp_path, enabled=True, served_as=["faces.example.org"]) as server:
        got, answer = server.post("/api/v6/images/fetch/1", headers={"Host": host})
        assert got == (status if host else 400) or (not host and got == 403), answer


def test_settings_are_not_shown_to_a_rebound_name(shared_server):
    for call in (shared_server.get, lambda path, **o: shared_server.post(path, {"local_api": {"enabled": False}}, **o)):
        assert call("/facegen/settings", headers={"Host": "evil.example"})[0] == 403
    assert shared_server.get("/facegen/settings")[1]["local_api"]["enabled"]


def test_the_links_carry_the_name_that_was_called(shared_server):
    answer = shared_server.submit(BODY, headers={"Host": "localhost:1234"})
    assert answer["output"][0].startswith("http://localhost:1234/api/facegen/files/")


# --- bodies


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_only_json_is_read(shared_server, kind):
    status, answer = shared_server.post(SUBMIT_URL, BODY, headers={"Content-Type": kind})
    assert status == 415 and "application/json" in answer["message"]


@pytest.mark.parametrize(
    "raw", [b"{", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 50_000, b'{"seed":' + b"9" * 5000 + b"}", b"nul"]
)
def test_bodies_that_are_not_json(shared_server, raw):
    status, answer = shared_server.post(SUBMIT_URL, raw=raw)
    assert status == 400 and answer == {"status": "error", "message": "The body is not valid JSON."}


def test_a_body_that_is_too_large(shared_server):
    status, answer = shared_server.post(SUBMIT_URL, raw=b'{"prompt": "' + b"x" * (33 << 20) + b'"}')
    assert status == 413 and "32 MB" in answer["message"]


NAMES = [*FIELDS, " seed", "model_id", "key", "request_id", "init_image", "base64_string"]
TRAPS = ["null", "yes", "512", "1e999", "-1", "NaN", "data:image/png;base64,AAAA", "http://127.0.0.1/", "\ud800", "\x00"]
IDS = ["0", "99999999999999999999", "x", "1'--", "%00", "..%2f"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**17, 10**400),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(TRAPS),
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3), max_leaves=5
)
BODIES = st.one_of(VALUES, st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8), st.binary(max_size=40))
PATHS = st.sampled_from(ROUTES) | st.builds(
    lambda path, identifier: path.replace("{id}", identifier), st.sampled_from(FETCH + CANCEL), st.sampled_from(IDS)
)


@settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(path=PATHS, body=BODIES)
def test_a_thousand_malformed_requests(shared_server, path, body):
    """Each gets an answer in the contract's shape: no 5xx, no traceback, nothing queued, nothing of ours in the answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = shared_server.post(path, raw=raw)
    assert status in (200, 400), (status, answer)
    assert answer["status"] in ("error", "failed"), answer
    text = json.dumps(answer)
    assert "Traceback" not in text and "site-packages" not in text and str(shared_server.base) not in text
    assert not shared_server.comfy.prompts[1:]


def test_nothing_was_logged_as_a_failure(shared_server, caplog):
    """The requests above, once more in one go: an unhandled exception would be logged by aiohttp."""
    with caplog.at_level(logging.ERROR):
        for path in ROUTES:
            for raw in (b"null", b"[]", b'{"prompt": 1, "face_image": []}', b'{"width": 1e999}'):
                assert shared_server.post(path, raw=raw)[0] == 200
    assert not caplog.records
