"""The file in which the local API remembers its requests."""

import asyncio
import json
import sqlite3

import pytest

from facegen.api.local.store import schema
from facegen.api.local.store.database import StoreError
from facegen.api.local.store.jobs import FAILED, SUCCESS, JobStore
from facegen.api.local.store.sqlite import SqliteDatabase

# As version 0.1 made it, and how it was before there were several fronts.
FIRST_SCHEMA = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, secret TEXT NOT NULL UNIQUE, prompt_id TEXT NOT NULL, created REAL NOT NULL,
    finished REAL, state TEXT NOT NULL, samples INTEGER NOT NULL, as_base64 INTEGER NOT NULL, tip TEXT NOT NULL,
    meta TEXT NOT NULL, message TEXT NOT NULL DEFAULT '', seconds REAL, temporary TEXT NOT NULL DEFAULT '[]', webhook TEXT,
    track_id TEXT, origin TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state);
"""
OF_ONE_FRONT = (
    FIRST_SCHEMA
    + """
ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
CREATE TABLE used (owner TEXT NOT NULL, day TEXT NOT NULL, pictures INTEGER NOT NULL, PRIMARY KEY (owner, day));
INSERT INTO used VALUES ('', '2026-01-01', 7);
"""
)
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


class Store:
    """The store of a file, whose methods are called without awaiting."""

    def __init__(self, path):
        self._store = asyncio.run(JobStore.open(SqliteDatabase(path)))

    def __getattr__(self, name):
        return lambda *args, **options: asyncio.run(getattr(self._store, name)(*args, **options))


def insert(db, **columns):
    names = ", ".join(columns)
    db.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(columns))})", list(columns.values()))


@pytest.mark.parametrize("of", [FIRST_SCHEMA, OF_ONE_FRONT], ids=["first", "one front"])
def test_a_file_of_an_earlier_version_is_read_and_written(path, of):
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.executescript(of)
        done = {"state": "success", "finished": 3.0, "seconds": 1.25, "temporary": json.dumps(["/tmp/ComfyUI_temp_1.png"])}
        insert(db, secret="one", **ROW, **done)
        insert(db, secret="two", **ROW, state="waiting", webhook="http://a.example/b")
    db.close()
    store = Store(path)
    done, waiting = store.get(1), store.get(2)
    assert (done.state, done.work_id, done.seconds, done.meta, done.track_id) == (SUCCESS, "5d3c", 1.25, {"seed": 5}, "a")
    assert done.as_base64 is True and store.older_than(4.0, 9) == [done] and store.usual_seconds(9.0) == 1.25
    assert store.waiting() == [waiting] and waiting.webhook == "http://a.example/b"
    failed, is_own = store.finish(waiting, FAILED, "It ended.")
    assert is_own and store.get(2) is failed and (failed.state, failed.message) == (FAILED, "It ended.")
    assert [job.id for job, _ in store.uncalled(0, 9)] == [2]
    added = store.add(secret="three", work_id="w", **NEW)
    assert (added.id, added.work_id, added.track_id, added.is_waiting) == (3, "w", 7, True) and store.get(3) == added
    assert [store.get(n).owner for n in (1, 2, 3)] == ["", "", "anna"]
    assert store.load("", "2026-01-01").pictures == (7 if of is OF_ONE_FRONT else 0)
    store.close()
    again = Store(path)
    assert [again.get(n).secret for n in (1, 2, 3)] == ["one", "two", "three"]
    again.close()


def test_a_file_can_still_be_used_by_the_version_before(path):
    """Its statements name neither the new columns nor the new tables."""
    store = Store(path)
    store.add(secret="one", work_id="w", **NEW)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state)")
        insert(db, secret="two", **ROW, state="waiting")
    db.close()
    store = Store(path)
    assert [job.secret for job in store.waiting()] == ["one", "two"]
    store.close()


def test_a_file_of_a_later_version_is_left_alone(path, monkeypatch):
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, schema.Step(("ALTER TABLE jobs ADD COLUMN later TEXT",))))
    Store(path).close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match=r"tables of version 3, and this version of the pack knows 2: a later one .* Update"):
        Store(path)


def test_a_step_that_fails_leaves_the_tables_as_they_were(path, monkeypatch):
    monkeypatch.setattr(schema, "STEPS", (schema.FIRST, schema.Step((*schema.FRONTS.statements, "ALTER TABLE none"))))
    with pytest.raises(StoreError):
        Store(path)
    monkeypatch.undo()
    store = Store(path)
    assert store.add(secret="one", work_id="w", **NEW).id == 1
    store.close()


def test_an_outcome_is_kept(path):
    store = Store(path)
    job = store.add(secret="one", work_id="w", **NEW)
    failed, _ = store.finish(job, FAILED, "no")
    assert store.finish(job, SUCCESS, seconds=2.0) == (failed, False) and failed.message == "no"
    store.delete([job.id])
    assert store.finish(job, SUCCESS) == (None, False) and store.by_secret("one") is None
    store.close()


def test_pictures_are_counted_once(path):
    store = Store(path)
    job = store.add(secret="one", work_id="w", **NEW)
    assert store.load("anna", "2026-01-01").pictures == 1, "in work"
    for _ in range(2):
        store.finish(job, SUCCESS, day="2026-01-01")
    assert (store.load("anna", "2026-01-01").pictures, store.load("anna", "2026-01-02").pictures) == (1, 0)
    store.forget_days("2026-01-02")
    assert store.load("anna", "2026-01-01").pictures == 0
    store.close()


def test_an_id_is_never_given_twice(path):
    store = Store(path)
    store.delete([store.add(secret="one", work_id="w", **NEW).id])
    store.close()
    store = Store(path)
    assert store.add(secret="two", work_id="w", **NEW).id == 2
    store.close()


def test_one_process_at_a_time(path):
    store = Store(path)
    with pytest.raises(StoreError, match=r"store, user/facegen/local_api/jobs\.sqlite, can't be used .*another process"):
        Store(path)
    store.close()
