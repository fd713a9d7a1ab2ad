"""Bodies that clients send to the local API: in any charset, of any shape, and what they may cost."""

import json
import logging
import socket
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facegen.api.local.routes import bodies, local_api
from facegen.api.local.routes.paths import CANCEL, FETCH, SUBMIT, UPLOADS
from facegen.contract import FIELDS
from local_api_server import BODY, ROUTES, SUBMIT_URL, TOKEN, bearer
from waiting import until


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_only_json_is_read(shared_server, kind):
    status, answer = shared_server.post(SUBMIT_URL, BODY, headers={"Content-Type": kind})
    assert status == 415 and "application/json" in answer["message"]


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"[" * 20_000, b'{"a":' * 10_000, b'{"seed":' + b"9" * 5000 + b"}", b"nul"])
def test_bodies_that_are_not_json(shared_server, raw):
    status, answer = shared_server.post(SUBMIT_URL, raw=raw)
    assert status == 400 and answer == {"status": "error", "message": "The body is not valid JSON."}


def declared(charset):
    return {"Content-Type": f"application/json; charset={charset}"}


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "iso-8859-1", "windows-1252", "utf-16", "gbk", "shift_jis"])
def test_a_body_in_the_charset_that_it_declares(shared_server, charset):
    prompt = "ein Matrose" if charset in ("gbk", "shift_jis") else "ein Matrose für später"
    raw = json.dumps({**BODY, "prompt": prompt}, ensure_ascii=False).encode(charset)
    status, answer = shared_server.post(SUBMIT_URL, raw=raw, headers=declared(charset))
    assert status == 200 and answer["meta"]["prompt"] == prompt


def test_a_body_in_another_charset_than_it_says(shared_server):
    raw = '{"prompt": "später"}'.encode("latin-1")
    assert "is not UTF-8. Send it as UTF-8, or declare" in shared_server.post(SUBMIT_URL, raw=raw)[1]["message"]
    status, answer = shared_server.post(SUBMIT_URL, raw=raw, headers=declared("utf-8"))
    assert status == 400 and "not in the charset that its Content-Type declares, 'utf-8'" in answer["message"]


@pytest.mark.parametrize("charset", ["klingon", "punycode", "idna", "zlib", "unicode_escape", "rot13", "utf-7", "mbcs"])
def test_a_charset_that_is_none(shared_server, charset):
    status, answer = shared_server.post(SUBMIT_URL, raw=b"{}", headers=declared(charset))
    assert status == 415 and f"charset '{charset}'" in answer["message"]


@pytest.mark.parametrize("unit", [b"{},", b"[],", b'{"a":1},', b"1,"])
def test_a_body_of_nothing_but_structure_costs_what_it_weighs(shared_server, unit):
    raw = b"[" + unit * ((8 << 20) // len(unit)) + b"0]"
    tracemalloc.start()
    try:
        status, answer = shared_server.post(SUBMIT_URL, raw=raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status == 400 and "commas, colons and brackets" in answer["message"]
    assert peak < 4 * len(raw)


def test_a_prompt_may_be_full_of_commas(shared_server):
    assert shared_server.submit({**BODY, "prompt": "a," * 5000, "negative_prompt": ",:[]" * 2500})["status"] == "success"


@pytest.mark.parametrize("path", [path for path in ROUTES if path not in (*SUBMIT, *UPLOADS)])
def test_a_body_without_a_photo_is_small(shared_server, path):
    status, answer = shared_server.post(path, raw=b'{"key": "' + b"x" * 70_000 + b'"}')
    assert status == 413 and "64 kB" in answer["message"]


def test_a_large_body_without_the_token_is_not_decoded(any_kind, tmp_path, monkeypatch):
    token = 'a/token "of" some länge'
    decoded = []
    real = local_api.decode_body
    monkeypatch.setattr(local_api, "decode_body", lambda *given: decoded.append(1) or real(*given))
    large = {"face_image": "A" * 70_000, "key": "sixteen wrong characters"}
    with any_kind(tmp_path, enabled=True, tokens={"anna": token}) as server:
        assert server.post(SUBMIT_URL, large) == (
            401,
            {"status": "error", "message": "The key is not a token of this machine."},
        )
        assert not decoded
        for raw in (json.dumps(large | {"key": token}), json.dumps(large | {"key": token}, ensure_ascii=False)):
            for written in (raw, raw.replace("/", "\\/")):
                assert server.post(SUBMIT_URL, raw=written.encode())[0] == 200
        for charset in ("utf-16", "utf-32-be", "utf-8-sig", "iso-8859-1", "utf-16-le"):
            raw = json.dumps(large | {"key": token}, ensure_ascii=False).encode(charset)
            assert server.post(SUBMIT_URL, raw=raw, headers=declared(charset))[0] == 200, charset
            raw = json.dumps(large, ensure_ascii=False).encode(charset)
            assert server.post(SUBMIT_URL, raw=raw, headers=declared(charset))[0] == 401, charset
        for charset in ("utf-16", "utf-32-be"):  # which JSON tells by its first bytes
            assert server.post(SUBMIT_URL, raw=json.dumps(large | {"key": token}).encode(charset))[0] == 200, charset
        assert server.post(SUBMIT_URL, large, headers=bearer(TOKEN))[0] == 401
        assert server.post(SUBMIT_URL, large, headers=declared("klingon"))[0] == 401
        assert len(decoded) == 11


@pytest.mark.parametrize("kind", [None, "text/plain", "application/json"])
def test_a_fetch_needs_no_body(shared_server, kind):
    identifier = shared_server.submit(BODY)["id"]
    for path in FETCH[:-1]:
        head = f"POST {path.replace('{id}', str(identifier))} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += (f"Content-Type: {kind}\r\n" if kind else "") + "Content-Length: 0\r\n\r\n"
        with socket.create_connection(("127.0.0.1", shared_server.port)) as connection:
            connection.sendall(head.encode())
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        assert b'"status": "success"' in answer, answer
    status, _ = shared_server.post(CANCEL[0].format(id=identifier), raw=b"", headers={"Content-Type": "text/plain"})
    assert status == 415, "a page of somebody else's could send that"


def test_many_large_bodies_at_once_are_refused_and_not_held(any_kind, tmp_path, monkeypatch):
    """Those that are here are read to their end, and what was refused may come again."""
    monkeypatch.setattr(bodies.Room.__init__, "__defaults__", (4 << 20,))
    read, take = [], bodies.Share.take
    monkeypatch.setattr(bodies.Share, "take", lambda self, size: read.append(size) or take(self, size))
    with any_kind(tmp_path, enabled=True) as server:
        body = json.dumps(BODY | {"face_image": "A" * (3 << 20)}).encode()
        head = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.sendall(head.format(SUBMIT_URL, len(body)).encode() + body[:-9])
            until(lambda: sum(read) == len(body) - 9)  # otherwise it may be the one that is refused
            status, answer = server.post(SUBMIT_URL, raw=body)
            assert (status, answer["retry_after"]) == (503, 5) and "Send this one again later." in answer["message"]
            assert server.submit(BODY)["status"] == "success"
            slow.sendall(body[-9:])
            assert slow.recv(15) == b"HTTP/1.1 200 OK"
        for _ in range(3):
            assert server.post(SUBMIT_URL, raw=body)[0] == 200


def test_a_client_that_waits_for_its_pictures_takes_no_room(any_kind, tmp_path, monkeypatch):
    monkeypatch.setattr(bodies.Room.__init__, "__defaults__", (256 << 10,))
    large = BODY | {"key": "x" * (150 << 10)}
    with any_kind(tmp_path, enabled=True, hold_seconds=30) as server, ThreadPoolExecutor() as pool:
        server.gate.clear()
        first = pool.submit(server.submit, large)
        server.wait_for(1)
        second = pool.submit(server.submit, large)
        server.wait_for(2)
        server.gate.set()
        assert first.result()["status"] == second.result()["status"] == "success"


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


@pytest.fixture
def idle_server(shared_server):
    """The server, with nothing made so far by this test."""
    shared_server.before = len(shared_server.made)
    return shared_server


@settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(path=PATHS, body=BODIES)
def test_five_hundred_malformed_requests(idle_server, path, body):
    """Each gets an answer in the contract's shape: no 5xx, no traceback, nothing queued, nothing of ours in the answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = idle_server.post(path, raw=raw)
    assert status in (200, 400), (status, answer)
    assert answer["status"] in ("error", "failed"), answer
    text = json.dumps(answer)
    assert "Traceback" not in text and "site-packages" not in text and str(idle_server.base) not in text
    assert len(idle_server.made) == idle_server.before


def test_nothing_was_logged_as_a_failure(shared_server, caplog):
    """The requests above, once more in one go: an unhandled exception would be logged by aiohttp."""
    with caplog.at_level(logging.ERROR):
        for path in ROUTES:
            for raw in (b"null", b"[]", b'{"prompt": 1, "face_image": []}', b'{"width": 1e999}'):
                assert shared_server.post(path, raw=raw)[0] == 200
    assert not caplog.records
