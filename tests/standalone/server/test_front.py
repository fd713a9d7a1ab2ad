"""The front of `serve`: health, metrics, the page's files, log lines, and what it refuses while it stops."""

import io
import json
import logging
import random
import re
import subprocess
import sys
import urllib.request

import pytest

from facegen.standalone.server import access_log
from facegen.standalone.server.answers import Answers
from facegen.standalone.server.logs import JsonLines, new_request_id
from facegen.standalone.server.metrics import Metrics
from local_api_server import BODY, KEY, data_uri
from memory_backend import MemoryBackend
from pack import ROOT
from serve_server import ServeServer
from waiting import until

TOKEN = "a-token-of-some-length"


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def server(tmp_path, backend):
    with ServeServer(tmp_path, backend, enabled=True, hold_seconds=0, poll_seconds=0.1) as running:
        yield running


def samples(text):
    """Name with its labels -> number."""
    lines = [line.rpartition(" ") for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(number) for name, _, number in lines}


def test_it_lives_before_it_is_ready(server):
    assert server.get("/healthz") == (200, {"status": "alive"})
    status, answer = server.get("/readyz")
    assert status == 503 and answer == {"status": "not ready", "reason": "the models are being loaded"}
    server.front.is_ready = True
    assert server.get("/readyz") == (200, {"status": "ready"})
    server.front.is_stopping = True
    assert server.get("/readyz")[1]["reason"] == "the server is stopping"


def test_while_it_stops_nothing_new_is_taken(server):
    server.submit(BODY)
    server.front.is_stopping = True
    status, answer = server.post("/api/v6/image_editing/face_gen", BODY)
    assert status == 503 and "takes nothing more" in answer["message"] and answer["retry_after"] == 30
    assert server.post("/v6/base64_to_url", {"base64_string": data_uri()})[0] == 503
    until(lambda: server.fetch(1)["status"] == "success")


def test_metrics(server, backend):
    backend.gate.clear()
    backend.waiting = True
    server.submit(BODY)
    server.submit({})
    server.get("/v6/nothing-of-ours")
    server.post("/v6/image_editing/fetch/99")
    told = samples(server.get("/metrics")[1])
    route = 'route="/api/v6/image_editing/face_gen"'
    assert told[f'facegen_requests_total{{outcome="processing",{route}}}'] == 1
    assert told[f'facegen_requests_total{{outcome="error",{route}}}'] == 1
    assert told['facegen_requests_total{outcome="404",route="unknown"}'] == 1
    assert told['facegen_requests_total{outcome="error",route="/v6/image_editing/fetch/{id}"}'] == 1
    assert told['facegen_queue_length{state="waiting"}'] == 1 and told['facegen_queue_length{state="running"}'] == 0
    assert told["facegen_open_requests"] == 1, "the one that asks"
    assert told["facegen_answer_seconds_count"] == told['facegen_answer_seconds_bucket{le="+Inf"}'] == 4
    assert 0 < told["facegen_answer_seconds_sum"] < 4 * 60 and told['facegen_answer_seconds_bucket{le="60.0"}'] == 4


def test_metrics_of_pictures_made_at_once():
    metrics = Metrics()
    metrics.pictures(4, 2.0)
    metrics.pictures(1, 1.5)
    told = samples(metrics.text(dict))
    assert told["facegen_batch_pictures_count"] == 2 and told['facegen_batch_pictures_bucket{le="1.0"}'] == 1
    assert told["facegen_batch_pictures_sum"] == told["facegen_picture_seconds_count"] == 5
    assert told["facegen_picture_seconds_sum"] == 3.5 and told['facegen_picture_seconds_bucket{le="0.5"}'] == 4


def test_metrics_are_not_for_everybody(server):
    server.configure(enabled=True, token=TOKEN)
    assert server.get("/metrics")[0] == 200, "from this machine"
    passed_on = {"X-Forwarded-For": "192.0.2.1"}
    assert server.get("/metrics", headers=passed_on)[0] == 403
    assert server.get("/metrics", headers={**passed_on, "Authorization": f"Bearer {TOKEN}"})[0] == 200
    assert server.get("/metrics", headers={"Host": "evil.example"})[0] == 403


def test_a_line_for_each_request_without_what_is_private(server, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/api/v6/image_editing/face_gen",
        json.dumps({**BODY, "prompt": "a very private prompt"}).encode(),
        {"Content-Type": "application/json", "X-Request-Id": "mine-7"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["X-Request-Id"] == "mine-7"
    server.get("/facegen/files/0123456789abcdef0123456789abcdef-0.png?key=secret")
    until(lambda: written.getvalue().count("\n") == 2)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert lines[0]["request"] == "mine-7" and re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]{8}\.\d{3}\+00:00", lines[0]["time"])
    assert lines[0]["method"] == "POST" and lines[0]["route"] == "/api/v6/image_editing/face_gen"
    assert lines[0]["outcome"] in ("processing", "success") and lines[0]["seconds"] >= 0 and lines[0]["level"] == "info"
    assert lines[1]["route"] == "/facegen/files/{name}" and lines[1]["outcome"] == "404"
    text = json.dumps(lines) + caplog.text
    private = ("a very private prompt", KEY, "secret", "0123456789abcdef0123", BODY["face_image"][40:80])
    assert not [one for one in private if one in text]


def test_a_log_that_can_t_be_written_keeps_nobody_from_an_answer(server, monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(access_log, "DELAY", 0)
    monkeypatch.setattr(sys, "stderr", Full())
    for _ in range(3):
        assert server.get("/healthz") == (200, {"status": "alive"})


def test_lines_that_wait_for_others_are_written_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(access_log, "DELAY", 600)
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    with ServeServer(tmp_path) as server:
        for _ in range(3):
            server.get("/healthz")
        assert not written.getvalue()
    assert [json.loads(line)["route"] for line in written.getvalue().splitlines()] == ["/healthz"] * 3


def test_how_long_answers_took():
    answers = Answers()
    for seconds in (0.001, 0.005, 0.02, 61):
        answers.begun()
        answers.answered("/a", "200", seconds)
    answers.begun()
    found = {(s.name, s.labels.get("le")): s.value for metric in answers.collect() for s in metric.samples}
    buckets = [found["facegen_answer_seconds_bucket", bound] for bound in ("0.005", "0.01", "0.05", "60.0", "+Inf")]
    assert buckets == [2, 2, 3, 3, 4] and found["facegen_answer_seconds_sum", None] == pytest.approx(61.026)
    assert found["facegen_open_requests", None] == 1 and found["facegen_requests_total", None] == 4


def test_an_id_that_a_log_can_t_hold_is_replaced():
    assert new_request_id("a-b_c.7") == "a-b_c.7"
    for given in (None, "", "a b", "x" * 65, "a\n", '"'):
        assert re.fullmatch(r"[0-9a-f]{16}", new_request_id(given))


def test_an_id_comes_once_though_a_library_seeds_chance():
    random.seed(1)
    first = new_request_id(None)
    random.seed(1)
    assert new_request_id(None) != first


def test_a_failure_s_line_has_its_traceback():
    try:
        raise ValueError("why")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "It failed\x1b", None, (ValueError, error, error.__traceback__))
    line = json.loads(JsonLines().format(record))
    assert line["message"] == "It failed\\x1b" and "ValueError: why" in line["error"]


def test_warnings_and_what_nobody_caught_are_lines_of_the_log():
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from pack import load_pack
load_pack()
import logging, threading, warnings
from facegen.standalone.server.logs import log_as_json
log_as_json()
warnings.warn("old ways\\nof a library")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise KeyError("none")
"""
    support = ROOT / "tests" / "support"
    done = subprocess.run([sys.executable, "-c", code, str(support)], capture_output=True, text=True, check=False)
    warned, in_thread, last = [json.loads(line) for line in done.stderr.splitlines()]
    assert warned["level"] == "warning" and "old ways" in warned["message"] and done.returncode == 1
    assert in_thread["level"] == last["level"] == "critical"
    assert "ZeroDivisionError: division by zero" in in_thread["error"] and last["message"] == "FaceGen: nobody caught KeyError"


# --- the page's files


def test_the_page_and_its_files(server):
    status, page = server.get("/")
    assert status == 200 and b"<!doctype html>" in page
    for name in re.findall(rb'(?:src|href)="(/page/[^"]+)"', page):
        assert server.get(name.decode())[0] == 200
    for wrong in ("/page/nothing.js", "/page/..%2fapp.py", "/page/%2e%2e/app.py"):
        assert server.get(wrong)[0] == 404


def test_what_the_page_may_load(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_what_the_page_is_told(server):
    told = server.get("/page/options.json")[1]
    assert list(told["endpoints"]) == ["face_gen", "head_shot"] and not told["needs_key"]
    face_gen, head_shot = (told["endpoints"][name]["fields"] for name in told["endpoints"])
    assert face_gen["s_scale"] == {"default": 1.0, "min": 0, "max": 2} and "anime" in face_gen["style"]["choices"]
    assert face_gen["height"] == {"min": 64, "max": 768, "step": 8}, "where it is left empty, it is the photo's"
    assert "style" not in head_shot and head_shot["guidance_scale"]["max"] == 5
    server.configure(enabled=True, token=TOKEN)
    assert server.get("/page/options.json")[1]["needs_key"]


@pytest.mark.parametrize("path", ["/v6/image_editing/facegen", "/api/v6/nothing", "/nothing"])
def test_what_is_not_there_is_told_as_all_else(server, path):
    status, answer = server.post(path, BODY)
    assert status == 404 and answer["status"] == "error" and "openapi.json" in answer["message"]


def test_a_method_that_is_not_answered_says_which_is(server):
    status, answer = server.post("/healthz", {})
    assert status == 405 and answer["message"] == "POST is not answered at this address. It takes GET, HEAD."


def test_the_description_is_served(server):
    described = server.get("/openapi.json")[1]
    assert described["openapi"] == "3.1.0"
    for path, of_path in described["paths"].items():
        for operation in of_path.values():
            for at in operation.get("servers", described["servers"]):  # relative to where the description is
                assert (at["url"] == "/") == (path in ("/healthz", "/readyz", "/metrics")) and at["url"] in ("/", "/api")
