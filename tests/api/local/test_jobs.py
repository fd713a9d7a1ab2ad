"""The file in which the local API remembers its requests."""

import json
import sqlite3

import pytest

from facegen.api.local.jobs import FAILED, SUCCESS, JobStore, StoreError

# As version 0.1 made it.
FIRST_SCHEMA = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, secret TEXT NOT NULL UNIQUE, prompt_id TEXT NOT NULL, created REAL NOT NULL,
    finished REAL, state TEXT NOT NULL, samples INTEGER NOT NULL, as_base64 INTEGER NOT NULL, tip TEXT NOT NULL,
    meta TEXT NOT NULL, message TEXT NOT NULL DEFAULT '', seconds REAL, temporary TEXT NOT NULL DEFAULT '[]', webhook TEXT,
    track_id TEXT, origin TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state);
"""
ROW = {
    "prompt_id": "5d3c",
    "created": 1.0,
    "samples": 2,
    "as_base64": 1,
    "tip": "",
    "meta": '{"seed": 5}',
    "track_id": '"a"',
    "origin": "http://127.0.0.1:8188",
}
NEW = {
    "samples": 1,
    "as_base64": False,
    "tip": "",
    "meta": {},
    "webhook": None,
    "track_id": 7,
    "origin": "http://localhost",
    "owner": "anna",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "user" / "facegen" / "local_api" / "jobs.sqlite"


def insert(db, **columns):
    names = ", ".join(columns)
    db.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(columns))})", list(columns.values()))


def test_a_file_of_an_earlier_version_is_read_and_written(path):
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.executescript(FIRST_SCHEMA)
        done = {"state": "success", "finished": 3.0, "seconds": 1.25, "temporary": json.dumps(["/tmp/ComfyUI_temp_1.png"])}
        insert(db, secret="one", **ROW, **done)
        insert(db, secret="two", **ROW, state="waiting")
    db.close()
    store = JobStore(path)
    done, waiting = store.get(1), store.get(2)
    assert (done.state, done.work_id, done.seconds, done.meta, done.track_id) == (SUCCESS, "5d3c", 1.25, {"seed": 5}, "a")
    assert done.as_base64 is True and store.older_than(4.0) == [done] and store.usual_seconds(9.0) == 1.25
    assert store.waiting() == [waiting]
    assert [job.message for job in store.fail_interrupted("It ended.")] == ["It ended."] and store.get(2).state == FAILED
    added = store.add(secret="three", work_id="w", **NEW)
    assert (added.id, added.work_id, added.track_id, added.is_waiting) == (3, "w", 7, True)
    assert [store.get(n).owner for n in (1, 2, 3)] == ["", "", "anna"]
    store.close()


def test_an_outcome_is_kept(path):
    store = JobStore(path)
    job = store.add(secret="one", work_id="w", **NEW)
    failed = store.finish(job.id, FAILED, "no")
    assert store.finish(job.id, SUCCESS, seconds=2.0) == failed and failed.message == "no"
    store.delete(job.id)
    assert store.finish(job.id, SUCCESS) is None and store.by_secret("one") is None
    store.close()


def test_an_id_is_never_given_twice(path):
    store = JobStore(path)
    store.delete(store.add(secret="one", work_id="w", **NEW).id)
    store.close()
    store = JobStore(path)
    assert store.add(secret="two", work_id="w", **NEW).id == 2
    store.close()


def test_one_process_at_a_time(path):
    store = JobStore(path)
    with pytest.raises(StoreError, match=r"store, user/facegen/local_api/jobs\.sqlite, can't be used .*another process"):
        JobStore(path)
    store.close()
