"""One row for each request, so that every id answers after a restart, too, and at each of several fronts.

A row holds no key, no photo and no picture.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .database import Database, Row
from .schema import bring_up_to_date

WAITING, SUCCESS, FAILED = "waiting", "success", "failed"


@dataclass(frozen=True)
class Job:
    """One request. `secret` names its files, `work_id` is its id at the backend, `origin` the scheme and host that the client
    called, `seconds` is how long generating took, `webhook` the URL that still has to be called, `owner` whose token it came
    with. `front` drives it, `takeovers` is how often that front has changed, and `progress`, from 0 to 1, is None as long as it
    waits."""

    id: int
    secret: str
    work_id: str
    created: float
    samples: int
    as_base64: bool
    tip: str
    meta: dict[str, Any]
    webhook: str | None
    track_id: str | int | None
    origin: str
    owner: str
    state: str = WAITING
    finished: float | None = None
    message: str = ""
    seconds: float | None = None
    front: str = ""
    takeovers: int = 0
    progress: float | None = None

    @property
    def is_waiting(self) -> bool:
        return self.state == WAITING


@dataclass(frozen=True)
class Load:
    """How much there is already: requests `queued` in all, `own` ones of an owner, and the owner's `pictures` of a day, those
    delivered and those in work."""

    queued: int
    own: int
    pictures: int


FIELDS = tuple(f.name for f in fields(Job))
COLUMNS = {"work_id": "prompt_id"}  # field -> column, where they differ
JSON_COLUMNS = ("meta", "track_id")
MOST_REMEMBERED = 1000  # finished jobs that needn't be read again: clients ask for the same ones
SELECT = f"SELECT {', '.join(COLUMNS.get(name, name) for name in FIELDS)} FROM jobs"
ALIVE = "(SELECT id FROM fronts WHERE seen > {now} - :lease)"
LOAD = """
    SELECT count(*) AS queued,
        coalesce(sum(CASE WHEN owner = :owner THEN 1 ELSE 0 END), 0) AS own,
        coalesce(sum(CASE WHEN owner = :owner THEN samples ELSE 0 END), 0)
            + coalesce((SELECT max(pictures) FROM used WHERE owner = :owner AND day = :day), 0) AS pictures
    FROM jobs WHERE state = 'waiting'
"""
COUNT = """
    INSERT INTO used (owner, day, pictures) VALUES (:owner, :day, :samples)
    ON CONFLICT (owner, day) DO UPDATE SET pictures = used.pictures + excluded.pictures
"""
SEEN = """
    INSERT INTO fronts (id, seen) VALUES (:front, {now}) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen
"""


class JobStore:
    """The rows of one database. Each method raises StoreError."""

    def __init__(self, database: Database):
        self._db = database
        self._finished: OrderedDict[int, Job] = OrderedDict()  # those that were asked for last
        self.is_shared, self.changes = database.is_shared, database.changes

    @classmethod
    async def open(cls, database: Database) -> "JobStore":
        """With the tables as this version needs them; the database is closed where they can't be had."""
        try:
            await bring_up_to_date(database)
        except BaseException:
            await database.close()
            raise
        return cls(database)

    async def close(self) -> None:
        await self._db.close()

    # --- a request's life

    async def add(self, day: str = "", room: Callable[[Load], None] = lambda load: None, **values: Any) -> Job:
        """A new request that waits; `values` are fields of Job. `room` raises what keeps it from being added; of all fronts
        one at a time asks it."""
        values = {"created": time.time(), "owner": "", **values}
        written = {COLUMNS.get(name, name): _written(name, value) for name, value in values.items()}
        names, places = ", ".join(written), ", ".join(f":{name}" for name in written)
        async with self._db.transaction() as at:
            await at.alone()
            room(Load(**(await at.rows(LOAD, owner=values["owner"], day=day))[0]))
            statement = f"INSERT INTO jobs ({names}, state) VALUES ({places}, 'waiting')"
            identifier = await at.insert(statement, **written)
        return Job(id=identifier, **values)

    async def get(self, identifier: int) -> Job | None:
        """That one; the same object each time, as long as it is done and doesn't change."""
        if not 0 < identifier < 1 << 63:
            return None
        if (job := self._finished.get(identifier)) is None:
            job = next(iter(await self._all("id = :id", id=identifier)), None)
            if job is not None and not job.is_waiting:
                job = self._remember(job)
        return job

    async def by_secret(self, secret: str) -> Job | None:
        return next(iter(await self._all("secret = :secret", secret=secret)), None)

    async def waiting(self) -> list[Job]:
        return await self._all("state = 'waiting' ORDER BY id")

    async def ahead(self, identifier: int) -> int:
        """How many requests wait that came before that one."""
        rows = await self._db.rows("SELECT count(*) AS ahead FROM jobs WHERE state = 'waiting' AND id < :id", id=identifier)
        return int(rows[0]["ahead"])

    async def finish(
        self,
        job: Job,
        state: str,
        message: str = "",
        seconds: float | None = None,
        day: str = "",
        only: str = "",
        caller: str = "",
    ) -> tuple[Job | None, bool]:
        """Set the outcome of a waiting request, and its meta; one that has an outcome keeps it. How it stands then (None if it
        has been deleted meanwhile), and whether it was this call that set it.

        Pictures are counted for `day`. With `only` nothing is set unless that front still drives it. `caller` is the front that
        calls its webhook.
        """
        done: dict[str, Any] = {"state": state, "message": message, "seconds": seconds, "finished": time.time()}
        set_all = "UPDATE jobs SET state = :state, message = :message, seconds = :seconds, finished = :finished, meta = :meta"
        where = "WHERE id = :id AND state = 'waiting'" + (" AND front = :only" if only else "")
        more = {"only": only} if only else {}
        meta = _written("meta", job.meta)
        async with self._db.transaction() as at:
            changed = await at.change(
                f"{set_all}, progress = NULL, caller = :caller {where}", id=job.id, **done, meta=meta, caller=caller, **more
            )
            if changed and state == SUCCESS:
                await at.change(COUNT, owner=job.owner, day=day, samples=job.samples)
        if not changed:
            return await self.get(job.id), False
        return self._remember(replace(job, **done, progress=None)), True

    async def set_meta(self, identifier: int, meta: dict[str, Any]) -> None:
        await self._db.change(
            "UPDATE jobs SET meta = :meta WHERE id = :id AND state = 'waiting'", id=identifier, meta=_written("meta", meta)
        )

    async def set_progress(self, progress: Mapping[int, float]) -> None:
        async with self._db.transaction() as at:
            for identifier in sorted(progress):  # in one order, so that two fronts don't wait for each other
                await at.change(
                    "UPDATE jobs SET progress = :progress WHERE id = :id AND state = 'waiting'",
                    id=identifier,
                    progress=progress[identifier],
                )

    async def usual_seconds(self, fallback: float) -> float:
        """How long generating took on average, of the last ten."""
        rows = await self._db.rows("SELECT seconds FROM jobs WHERE seconds IS NOT NULL ORDER BY id DESC LIMIT 10")
        return sum(row["seconds"] for row in rows) / len(rows) if rows else fallback

    # --- what is too old

    async def older_than(self, moment: float, most: int) -> list[Job]:
        """Some requests that were finished before `moment` (seconds since the epoch)."""
        return await self._all("finished < :moment ORDER BY finished LIMIT :most", moment=moment, most=most)

    async def delete(self, identifiers: Collection[int]) -> None:
        async with self._db.transaction() as at:
            for identifier in sorted(identifiers):
                self._finished.pop(identifier, None)
                await at.change("DELETE FROM jobs WHERE id = :id", id=identifier)

    async def forget_days(self, before: str) -> None:
        """Forget what was delivered before that day, and the finished requests that may have been deleted by others."""
        self._finished.clear()
        await self._db.change("DELETE FROM used WHERE day < :day", day=before)

    # --- fronts

    async def seen(self, front: str) -> None:
        """This front is alive now."""
        await self._db.change(SEEN, front=front)

    async def alive(self, lease: float) -> set[str]:
        """The fronts that were seen within the last `lease` seconds."""
        return {row["id"] for row in await self._db.rows(ALIVE[1:-1], lease=lease)}

    async def forget_fronts(self, lease: float) -> None:
        """All that were not seen within the last `lease` seconds."""
        await self._db.change("DELETE FROM fronts WHERE seen <= {now} - :lease", lease=lease)

    async def leave(self, front: str) -> None:
        """The front ends: others may take over what it drives and calls, at once."""
        await self._db.change("UPDATE jobs SET front = '' WHERE front = :front AND state = 'waiting'", front=front)
        await self._db.change("UPDATE jobs SET caller = '' WHERE caller = :front AND webhook IS NOT NULL", front=front)
        await self._db.change("DELETE FROM fronts WHERE id = :front", front=front)

    async def driven_by(self, front: str) -> dict[int, tuple[str, int]]:
        """The ids of the waiting requests that a front drives, each with its secret and its takeovers."""
        statement = "SELECT id, secret, takeovers FROM jobs WHERE state = 'waiting' AND front = :front"
        return {row["id"]: (row["secret"], row["takeovers"]) for row in await self._db.rows(statement, front=front)}

    async def drop(self, identifiers: Collection[int], front: str) -> None:
        """Forget requests that this front was to drive and never began."""
        for identifier in sorted(identifiers):
            await self._db.change(
                "DELETE FROM jobs WHERE id = :id AND state = 'waiting' AND front = :front", id=identifier, front=front
            )

    async def load(self, owner: str, day: str) -> Load:
        """How much there is now."""
        return Load(**(await self._db.rows(LOAD, owner=owner, day=day))[0])

    async def orphans(self, lease: float, most: int) -> list[Job]:
        """Some waiting requests whose front is not alive."""
        where = f"state = 'waiting' AND front NOT IN {ALIVE} ORDER BY id LIMIT :most"
        return await self._all(where, lease=lease, most=most)

    async def take_over(self, job: Job, front: str) -> Job | None:
        """That request as one that this front drives; None if another front was quicker."""
        changed = await self._db.change(
            "UPDATE jobs SET front = :new, takeovers = takeovers + 1, progress = NULL "
            "WHERE id = :id AND state = 'waiting' AND front = :old",
            new=front,
            old=job.front,
            id=job.id,
        )
        return replace(job, front=front, takeovers=job.takeovers + 1, progress=None) if changed else None

    # --- webhooks

    async def uncalled(self, lease: float, most: int) -> list[tuple[Job, str]]:
        """Some finished requests whose webhook no front that is alive is calling; each with the one that did."""
        where = f"webhook IS NOT NULL AND state != 'waiting' AND caller NOT IN {ALIVE} ORDER BY id LIMIT :most"
        rows = await self._db.rows(f"{SELECT.replace(' FROM', ', caller FROM')} WHERE {where}", lease=lease, most=most)
        return [(_job(row), row["caller"]) for row in rows]

    async def take_call(self, identifier: int, front: str, before: str) -> bool:
        """Whether this front calls the webhook now, where it was `before` who did and nobody else was quicker."""
        return bool(
            await self._db.change(
                "UPDATE jobs SET caller = :new WHERE id = :id AND webhook IS NOT NULL AND caller = :old",
                new=front,
                old=before,
                id=identifier,
            )
        )

    async def called_by(self, front: str) -> list[int]:
        """The ids of the finished requests whose webhook is that front's to call."""
        statement = "SELECT id FROM jobs WHERE webhook IS NOT NULL AND state != 'waiting' AND caller = :front"
        return [row["id"] for row in await self._db.rows(statement, front=front)]

    async def webhook_done(self, identifier: int) -> None:
        self._finished.pop(identifier, None)
        await self._db.change("UPDATE jobs SET webhook = NULL WHERE id = :id", id=identifier)

    # ---

    def _remember(self, job: Job) -> Job:
        """That one, or as it is remembered already: others may have read it before whoever stored it hears that it is."""
        known = self._finished.setdefault(job.id, job)
        if len(self._finished) > MOST_REMEMBERED:
            self._finished.popitem(last=False)
        return known

    async def _all(self, where: str, **values: Any) -> list[Job]:
        return [_job(row) for row in await self._db.rows(f"{SELECT} WHERE {where}", **values)]


def _written(name: str, value: Any) -> Any:
    if name in JSON_COLUMNS:
        return json.dumps(value)
    return int(value) if isinstance(value, bool) else value


def _job(row: Row) -> Job:
    values = {name: row[COLUMNS.get(name, name)] for name in FIELDS}
    for name in JSON_COLUMNS:
        values[name] = None if values[name] is None else json.loads(values[name])
    values["as_base64"] = bool(values["as_base64"])
    return Job(**values)
