"""Webhooks of the local API: signed, retried, bounded; the official library for Standard Webhooks verifies them."""

import http.server
import json
import threading
import time

import pytest
import standardwebhooks

from facegen.api.download import DownloadError, Guard
from facegen.api.local import webhooks
from facegen.api.local.config import new_secret
from local_api_server import BODY, KEY
from waiting import until


class Receiver(http.server.ThreadingHTTPServer):
    """Answers calls with `statuses`, one after the other, then with 200."""

    daemon_threads = True

    def __init__(self):
        self.calls, self.statuses = [], []
        super().__init__(("127.0.0.1", 0), self.handler())
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/done"

    def handler(receiver):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append((body, dict(self.headers)))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.end_headers()

            def log_message(self, *args):
                pass

        return Handler

    def wait(self, count):
        until(lambda: len(self.calls) >= count)
        return [json.loads(body) for body, _ in self.calls]


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(webhooks, "PAUSE", 0.02)


SECRET = new_secret()
SETTINGS = {"enabled": True, "allowed_hosts": ["127.0.0.1"], "webhook_secret": SECRET}


@pytest.fixture
def server(any_kind, tmp_path):
    with any_kind(tmp_path, **SETTINGS) as running:
        yield running


@pytest.mark.parametrize("track_id", ["video_001", 7, "7", None])
def test_a_finished_request_is_reported(server, receiver, track_id):
    answer = server.submit({**BODY, "webhook": receiver.url, "track_id": track_id})
    (call,) = receiver.wait(1)
    assert call == {**answer, "track_id": track_id} and type(call["track_id"]) is type(track_id)
    assert KEY not in json.dumps(call)


def test_it_is_signed(server, receiver):
    server.submit({**BODY, "webhook": receiver.url})
    receiver.wait(1)
    body, headers = receiver.calls[0]
    verifier = standardwebhooks.Webhook(SECRET)
    assert verifier.verify(body, headers)["status"] == "success"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(body.replace(b"success", b"failure"), headers)


def test_a_failed_request_is_reported(server, receiver):
    server.fail_with("No face found.")
    answer = server.submit({**BODY, "webhook": receiver.url, "track_id": "a"})
    (call,) = receiver.wait(1)
    assert call == {"status": "failed", "id": answer["id"], "message": answer["message"], "track_id": "a"}


def test_it_is_repeated_until_2xx(server, receiver):
    receiver.statuses = [500, 302]
    server.submit({**BODY, "webhook": receiver.url})
    calls = receiver.wait(3)
    assert calls[0] == calls[1] == calls[2]
    assert len({headers["webhook-id"] for _, headers in receiver.calls}) == 1
    time.sleep(0.3)
    assert len(receiver.calls) == 3


@pytest.mark.parametrize(("statuses", "count"), [([500] * 9, webhooks.TRIES), ([410] * 9, 1)])
def test_it_is_given_up(server, receiver, statuses, count, caplog):
    receiver.statuses = statuses
    answer = server.submit({**BODY, "webhook": receiver.url})
    receiver.wait(count)
    until(lambda: "given up" in caplog.text)
    assert len(receiver.calls) == count
    assert server.fetch(answer["id"])["status"] == "success"


def test_a_neighbour_is_not_called(any_kind, tmp_path, receiver, caplog):
    with any_kind(tmp_path, enabled=True) as server:
        named = receiver.url.replace("127.0.0.1", "localhost")  # found out when the name is resolved
        for url in (receiver.url, named, f" {named} "):
            answer = server.submit({**BODY, "webhook": url})
            assert answer["status"] == "error" and "not a public address" in answer["message"]["webhook"][0]
            assert answer["message"]["webhook"][0].endswith("name it in allowed_hosts of the local API's settings.")
        assert not server.made
    assert not receiver.calls


def test_a_name_that_leads_inside_later_is_not_called(any_kind, tmp_path, receiver, caplog, monkeypatch):
    """Or that did when it could not be looked up: the call itself is guarded, too."""

    async def not_now(self, url, seconds=0):
        raise DownloadError("rebound.example can't be found.")

    monkeypatch.setattr(Guard, "check_name", not_now)
    with any_kind(tmp_path, enabled=True) as server:
        answer = server.submit({**BODY, "webhook": receiver.url.replace("127.0.0.1", "localhost")})
        assert answer["status"] == "success" and "may not be reached. rebound.example can't be found." in answer["tip"]
        until(lambda: "is not called" in caplog.text)
    assert not receiver.calls


def test_an_allowed_name_is_called(any_kind, tmp_path, receiver):
    with any_kind(tmp_path, enabled=True, allowed_hosts=["LocalHost"]) as server:
        assert server.submit({**BODY, "webhook": receiver.url.replace("127.0.0.1", "localhost")})["status"] == "success"
        receiver.wait(1)


def test_the_id_of_a_call_tells_nothing_of_the_pictures(server, receiver):
    link = server.submit({**BODY, "webhook": receiver.url})["output"][0]
    receiver.wait(1)
    identifier = receiver.calls[0][1]["webhook-id"].removeprefix("facegen-")
    assert identifier not in link and len(identifier) == 36


def test_a_restart_reports_what_it_interrupted(any_kind, tmp_path, receiver):
    with any_kind(tmp_path, **SETTINGS, hold_seconds=0) as first:
        first.gate.clear()
        identifier = first.submit({**BODY, "webhook": receiver.url, "track_id": 3})["id"]
        first.wait_for(1)
    assert not receiver.calls
    with any_kind(tmp_path):
        (call,) = receiver.wait(1)
        time.sleep(1)  # until it is stored that it was called
    assert call["status"] == "failed" and call["id"] == identifier and call["track_id"] == 3
    with any_kind(tmp_path) as third:
        assert third.fetch(identifier)["status"] == "failed"
        time.sleep(0.2)
    assert len(receiver.calls) == 1
