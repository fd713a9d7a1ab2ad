"""Several clients of one machine: tokens with names, limits and quotas, each with its own requests."""

import asyncio
import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from facegen.api.local import days, driver, runner
from facegen.api.local.backend import Busy
from facegen.api.local.config import ConfigError, ConfigFile
from facegen.api.local.tokens import Token
from local_api_server import BODY, ApiServer
from memory_backend import MemoryBackend
from waiting import until

ANNA, BEN = "a-token-of-anna-123", "a-token-of-ben-4567"
SUBMIT = "/api/v6/image_editing/face_gen"


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def server(tmp_path, backend, monkeypatch):
    monkeypatch.setattr(runner, "POLL", 0.02)
    with ApiServer(tmp_path, backend, **settings(anna={"token": ANNA, "max_queued": 2, "pictures_a_day": 4})) as running:
        yield running


def settings(anna):
    return {"enabled": True, "tokens": {"anna": anna, "ben": BEN}, "poll_seconds": 0.05}


def ask(server, key, **body):
    return server.post(SUBMIT, {**BODY, "key": key, **body})


def test_a_client_s_own_limit_is_no_other_s(server, backend):
    server.configure(**settings({"token": ANNA, "max_queued": 2}), hold_seconds=0)
    backend.gate.clear()
    assert [ask(server, ANNA)[0] for _ in range(3)] == [200, 200, 429]
    answer = ask(server, ANNA)[1]
    assert answer["message"] == "Rate limit exceeded. Maximum 2 queued requests allowed." and answer["retry_after"] >= 1
    assert [ask(server, BEN)[0] for _ in range(3)] == [200] * 3


def test_a_backend_without_room_refuses_before_anything_is_taken(server, backend):
    backend.busy = Busy("All machines are busy, and 4 requests wait already.", 7)
    status, answer = ask(server, ANNA)
    assert status == 429 and answer["retry_after"] == 7 and answer["message"].startswith("All machines are busy")
    assert backend.knocked == []
    backend.busy = None
    assert ask(server, ANNA)[0] == 200


def test_many_at_once_are_no_more_than_a_client_s_limit(server, backend, monkeypatch):
    """Their photos arrive at the same time, so none of them is in work when the others are looked at."""
    server.configure(**settings({"token": ANNA, "max_queued": 2}), hold_seconds=0)
    backend.gate.clear()
    met, save = threading.Barrier(3), runner.save_face

    async def slow(*args):
        with contextlib.suppress(threading.BrokenBarrierError):
            await asyncio.to_thread(met.wait, 1)
        return await save(*args)

    monkeypatch.setattr(runner, "save_face", slow)
    with ThreadPoolExecutor(5) as pool:
        statuses = [one[0] for one in pool.map(lambda _: ask(server, ANNA), range(5))]
    assert sorted(statuses) == [200, 200, 429, 429, 429]


def test_a_quota_counts_pictures_that_were_delivered_or_are_in_work(server, backend, monkeypatch):
    assert ask(server, ANNA, samples=2)[1]["status"] == "success"
    backend.fail = "It failed."
    assert ask(server, ANNA, samples=2)[1]["status"] == "failed", "which costs nothing"
    backend.fail = None
    assert ask(server, ANNA)[1]["status"] == "success"
    status, answer = ask(server, ANNA, samples=2)
    assert status == 429 and 1 <= answer["retry_after"] <= 24 * 3600
    assert answer["message"] == "The quota of this key is 4 pictures a day, with 1 left until midnight UTC."
    assert ask(server, ANNA)[1]["status"] == "success"
    assert "with none left until" in ask(server, ANNA)[1]["message"]
    assert ask(server, BEN, samples=2)[1]["status"] == "success"
    assert not any(server.photos.iterdir()), "a photo that was refused is not kept"
    monkeypatch.setattr(runner, "today", lambda: "2100-01-01")
    monkeypatch.setattr(driver, "today", lambda: "2100-01-01")
    assert ask(server, ANNA, samples=2)[1]["status"] == "success", "another day"


def test_a_quota_holds_for_what_is_in_work(server, backend):
    server.configure(**settings({"token": ANNA, "pictures_a_day": 3}), hold_seconds=0)
    backend.gate.clear()
    assert [ask(server, ANNA, samples=2)[0] for _ in range(2)] == [200, 429]


def test_it_is_still_counted_after_a_restart(tmp_path, backend):
    quota = settings({"token": ANNA, "pictures_a_day": 1})
    with ApiServer(tmp_path, backend, **quota) as server:
        assert ask(server, ANNA)[0] == 200
    with ApiServer(tmp_path, backend, **quota) as server:
        until(lambda: ask(server, ANNA)[0] == 429)


def test_days_are_utc_s():
    assert len(days.today()) == 10 and 0 < days.left_of_day() <= 24 * 3600


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"token": ANNA, "max_queued": 0}, "tokens.anna.max_queued is 0; it must be at least 1"),
        ({"token": ANNA, "pictures_a_day": "9"}, "tokens.anna: pictures_a_day must be int or null, not str"),
        ({"max_queued": 5}, "tokens.anna lacks an entry"),
        ({"token": ANNA, "quota": 5}, "tokens.anna has quota; known are token, max_queued, pictures_a_day"),
        ({"token": "short"}, "the tokens of anna have fewer than 16 characters"),
    ],
)
def test_a_client_that_is_not_set_right_is_named_without_its_token(tmp_path, entry, says):
    file = tmp_path / "local_api.json"
    file.write_text(json.dumps({"tokens": {"anna": entry}}))
    file.chmod(0o600)
    with pytest.raises(ConfigError) as error:
        ConfigFile(file).read()
    assert says in str(error.value) and ANNA not in str(error.value)


def test_no_token_is_shown_by_accident():
    assert ANNA not in repr(Token(ANNA, 5))
