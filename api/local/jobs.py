"""What the local API remembers: one row for each request, in SQLite, so that every id answers after a restart, too.

A row holds no key, no photo and no picture. Only one process may have the file open.
"""

import json
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...errors import FaceGenError

WAITING, SUCCESS, FAILED = "waiting", "success", "failed"
# prompt_id is the work's id at the backend, and temporary is empty; both are from when there was one backend only.
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    secret TEXT NOT NULL UNIQUE,
    prompt_id TEXT NOT NULL,
    created REAL NOT NULL,
    finished REAL,
    state TEXT NOT NULL,
    samples INTEGER NOT NULL,
    as_base64 INTEGER NOT NULL,
    tip TEXT NOT NULL,
    meta TEXT NOT NULL,
    message TEXT NOT NULL DEFAULT '',
    seconds REAL,
    temporary TEXT NOT NULL DEFAULT '[]',
    webhook TEXT,
    track_id TEXT,
    origin TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state);
CREATE TABLE IF NOT EXISTS used (
    owner TEXT NOT NULL,
    day TEXT NOT NULL,
    pictures INTEGER NOT NULL,
    PRIMARY KEY (owner, day)
);
"""


class StoreError(FaceGenError):
    """The file can't be opened, read or written; the message says what may be in the way."""

    def __init__(self, path: Path, error: Exception):
        shown = "/".join(path.parts[-4:])  # clients read it: not all of the path
        super().__init__(
            f"The local API's store, {shown}, can't be used ({error}): another process may be serving from the same folder, "
            "the disk may be full, or the file damaged."
        )


@dataclass(frozen=True)
class Job:
    """One request. `secret` names its files, `work_id` is its id at the backend, `origin` the scheme and host that the client
    called, `seconds` is how long generating took, `webhook` the URL that still has to be called, `owner` whose token it came
    with."""

    id: int
    secret: str
    work_id: str
    created: float
    finished: float | None
    state: str
    samples: int
    as_base64: bool
    tip: str
    meta: dict[str, Any]
    message: str
    seconds: float | None
    webhook: str | None
    track_id: str | int | None
    origin: str
    owner: str

    @property
    def is_waiting(self) -> bool:
        return self.state == WAITING


FIELDS = tuple(f.name for f in fields(Job))
COLUMNS = {"work_id": "prompt_id"}  # field -> column, where they differ
JSON_COLUMNS = ("meta", "track_id")
MOST_REMEMBERED = 1000  # finished jobs that needn't be read again: clients ask for the same ones


class JobStore:
    """The rows of one file. Each method raises StoreError."""

    def __init__(self, path: Path):
        self._path = path
        self._finished: OrderedDict[int, Job] = OrderedDict()  # those that were asked for last
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StoreError(path, error) from error
        self._db.row_factory = sqlite3.Row
        try:
            # Exclusive, so that a second process can't take this one's work for work that was interrupted.
            self._run("PRAGMA locking_mode = EXCLUSIVE")
            self._run("PRAGMA journal_mode = WAL")
            self._run("PRAGMA synchronous = FULL")  # an id that a power cut forgot would be given to another request
            self._run("BEGIN IMMEDIATE")
            self._run("COMMIT")
            for statement in SCHEMA.split(";"):
                self._run(statement)
            if "owner" not in {row["name"] for row in self._run("PRAGMA table_info(jobs)")[0]}:  # before 0.2
                self._run("ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT ''")
        except StoreError:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def add(self, **values: Any) -> Job:
        """A new request that waits; `values` are fields of Job."""
        row = {"created": time.time(), "state": WAITING, **values}
        names = ", ".join(COLUMNS.get(name, name) for name in row)
        written = [json.dumps(value) if name in JSON_COLUMNS else value for name, value in row.items()]
        _, identifier = self._run(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(row))})", written)
        return self._all("id = ?", identifier)[0]

    def get(self, identifier: int) -> Job | None:
        """That one; the same object each time, as long as it is done and doesn't change."""
        if not 0 < identifier < 1 << 63:
            return None
        if (job := self._finished.get(identifier)) is None:
            job = next(iter(self._all("id = ?", identifier)), None)
            if job is not None and not job.is_waiting:
                self._finished[identifier] = job
                if len(self._finished) > MOST_REMEMBERED:
                    self._finished.popitem(last=False)
        return job

    def by_secret(self, secret: str) -> Job | None:
        return next(iter(self._all("secret = ?", secret)), None)

    def waiting(self) -> list[Job]:
        return self._all("state = ? ORDER BY id", WAITING)

    def unanswered(self) -> list[Job]:
        """Finished requests whose webhook has not been called with success."""
        return self._all("state != ? AND webhook IS NOT NULL ORDER BY id", WAITING)

    def older_than(self, moment: float) -> list[Job]:
        """Requests that were finished before `moment` (seconds since the epoch)."""
        return self._all("finished < ?", moment)

    def finish(self, identifier: int, state: str, message: str = "", seconds: float | None = None) -> Job | None:
        """Set the outcome of a waiting request; one that has an outcome keeps it. None if it has been deleted meanwhile."""
        self._run(
            "UPDATE jobs SET state = ?, message = ?, seconds = ?, finished = ? WHERE id = ? AND state = ?",
            (state, message, seconds, time.time(), identifier, WAITING),
        )
        return self.get(identifier)

    def used(self, owner: str, day: str) -> int:
        """How many pictures of that owner were delivered on that day."""
        rows, _ = self._run("SELECT pictures FROM used WHERE owner = ? AND day = ?", (owner, day))
        return rows[0]["pictures"] if rows else 0

    def count(self, job: Job, day: str) -> None:
        """Add a request's pictures to what its owner has had on that day; other days are forgotten."""
        self._run("DELETE FROM used WHERE day != ?", (day,))
        self._run(
            "INSERT INTO used VALUES (?, ?, ?) ON CONFLICT (owner, day) DO UPDATE SET pictures = pictures + excluded.pictures",
            (job.owner, day, job.samples),
        )

    def set_meta(self, identifier: int, meta: dict[str, Any]) -> None:
        self._finished.pop(identifier, None)
        self._run("UPDATE jobs SET meta = ? WHERE id = ?", (json.dumps(meta), identifier))

    def webhook_done(self, identifier: int) -> None:
        self._finished.pop(identifier, None)
        self._run("UPDATE jobs SET webhook = NULL WHERE id = ?", (identifier,))

    def delete(self, identifier: int) -> None:
        self._finished.pop(identifier, None)
        self._run("DELETE FROM jobs WHERE id = ?", (identifier,))

    def fail_interrupted(self, message: str) -> list[Job]:
        """Mark what an earlier process left waiting as failed."""
        return [job for waiting in self.waiting() if (job := self.finish(waiting.id, FAILED, message))]

    def usual_seconds(self, fallback: float) -> float:
        """How long generating took on average, of the last ten."""
        rows, _ = self._run("SELECT seconds FROM jobs WHERE seconds IS NOT NULL ORDER BY id DESC LIMIT 10")
        return sum(row["seconds"] for row in rows) / len(rows) if rows else fallback

    def _all(self, where: str, *values: Any) -> list[Job]:
        return [_job(row) for row in self._run(f"SELECT * FROM jobs WHERE {where}", values)[0]]

    def _run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[sqlite3.Row], int | None]:
        """The rows, and the id of the row that was added last."""
        try:
            cursor = self._db.execute(statement, values)
            return cursor.fetchall(), cursor.lastrowid
        except sqlite3.Error as error:
            raise StoreError(self._path, error) from error


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[COLUMNS.get(name, name)] for name in FIELDS}
    for name in JSON_COLUMNS:
        values[name] = None if values[name] is None else json.loads(values[name])
    values["as_base64"] = bool(values["as_base64"])
    return Job(**values)
