"""What the local API keeps, and for how long: results, requests over a restart, and nothing that is the client's own."""

import json
import logging
import os
import stat
import time

import pytest

from facegen.api.local import runner as runner_module
from local_api_server import BODY, KEY, SUBMIT_URL, LocalServer, data_uri
from waiting import until


@pytest.mark.parametrize("as_base64", [False, True])
def test_pictures_that_somebody_deleted(any_server, as_base64):
    answer = any_server.submit({**BODY, "base64": as_base64})
    for path in (any_server.config.parent / "local_api" / "results").iterdir():
        path.unlink()
    gone = any_server.fetch(answer["id"])
    assert gone["status"] == "failed" and "were deleted" in gone["message"]
    assert any_server.get(answer["proxy_links"][0])[0] == 404


def test_old_results_are_deleted(any_kind, tmp_path, monkeypatch):
    age = [0.0]  # hours by which everything is older than it is
    too_old = runner_module.too_old
    monkeypatch.setattr(runner_module, "too_old", lambda hours: too_old(hours - age[0]))
    monkeypatch.setattr(runner_module, "CLEAN_EVERY", 0.05)
    with any_kind(tmp_path, enabled=True, keep_hours=5) as server:
        answer = server.submit(BODY)
        (upload,) = server.post("/v6/base64_to_url", {"base64_string": data_uri()})[1]["output"]
        age[0] = 4.9
        time.sleep(0.3)
        assert server.fetch(answer["id"]) == answer and server.get(upload)[0] == 200
        age[0] = 5.1
        until(lambda: server.fetch(answer["id"])["status"] != "success" and server.get(upload)[0] != 200)
        assert "no request with this id" in server.fetch(answer["id"])["message"]
        assert server.get(answer["output"][0])[0] == 404
        assert not server.left


def test_every_id_answers_truthfully_after_a_restart(any_kind, tmp_path):
    with any_kind(tmp_path, enabled=True, hold_seconds=60) as first:
        done = first.submit(BODY)
        first.configure(enabled=True, hold_seconds=0)
        first.gate.clear()
        running, pending = (first.submit(BODY)["id"] for _ in range(2))
    with any_kind(tmp_path) as second:
        again = second.fetch(done["id"])
        assert again["status"] == "success"
        path = again["output"][0].partition("/api/")[2]
        assert second.picture(f"/api/{path}").size == (64, 72)
        for identifier in (running, pending):
            answer = second.fetch(identifier)
            assert answer["status"] == "failed" and "stopped while this request was in work" in answer["message"]
        assert second.submit(BODY)["id"] == pending + 1


def test_two_processes_do_not_share_one_store(server):
    """serve doesn't start then."""
    with LocalServer(server.base) as other:
        status, answer = other.post(SUBMIT_URL, BODY)
        assert (
            status == 503
            and "another process" in answer["message"]
            and "user/facegen/local_api/jobs.sqlite" in answer["message"]
        )
    assert server.submit(BODY)["status"] == "success"


def test_the_clients_key_and_face_are_stored_nowhere(any_server, caplog):
    """Neither while the request is in work nor afterwards, in no file, no graph and no log, whatever its level."""
    caplog.set_level(logging.DEBUG)
    face = BODY["face_image"].partition(",")[2]

    def check():
        texts = [caplog.text, any_server.told, json.dumps(answer)]
        texts += [path.read_bytes().decode("latin-1") for path in any_server.base.rglob("*") if path.is_file()]
        assert all(KEY not in text and face not in text for text in texts)

    any_server.configure(enabled=True, hold_seconds=0)
    any_server.gate.clear()
    answer = any_server.submit({**BODY, "track_id": 5})
    any_server.wait_for(1)
    assert any(any_server.photos.iterdir())
    check()
    any_server.gate.set()
    while (answer := any_server.fetch(answer["id"]))["status"] == "processing":
        pass
    assert answer["status"] == "success"
    check()
    answer = any_server.submit({**BODY, "style": "oil", "webhook": 5})
    assert answer["status"] == "error"
    check()


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_settings_and_store_are_the_owners_alone(any_server):
    assert any_server.post("/facegen/settings", {"local_api": {"enabled": True}})[0] == 200
    any_server.submit(BODY)
    folder = any_server.config.parent / "local_api"
    for path in (any_server.config, folder / "jobs.sqlite"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "results").stat().st_mode) == 0o700
