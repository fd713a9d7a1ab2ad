"""The same store on SQLite and on PostgreSQL, and what only PostgreSQL has to do: several at once."""

import asyncio
import contextlib

import pytest

from facegen.api.local.config_values import ConfigError
from facegen.api.local.store import postgres as postgres_module
from facegen.api.local.store import schema
from facegen.api.local.store.database import StoreAway, StoreError
from facegen.api.local.store.jobs import FAILED, SUCCESS, JobStore
from facegen.api.local.store.postgres import PostgresDatabase
from facegen.api.local.store.sqlite import SqliteDatabase
from facegen.errors import FaceGenError, MissingLibraryError

pytest.importorskip("psycopg", reason="needs requirements-scale.txt")

NEW = {"samples": 2, "as_base64": True, "tip": "", "meta": {"seed": 5}, "webhook": "http://a.example/b", "track_id": "7"}
NEW |= {"origin": "http://localhost", "owner": "anna", "front": "one", "work_id": "w"}
DAY = "2026-01-31"


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request, tmp_path):
    """Opens the same database anew."""
    if request.param == "sqlite":
        return lambda: JobStore.open(SqliteDatabase(tmp_path / "jobs.sqlite"))
    url = request.getfixturevalue("database")
    return lambda: opened_at(url)


async def opened_at(url):
    return await JobStore.open(await PostgresDatabase.open(url))


@contextlib.asynccontextmanager
async def closing(*opening):
    stores = [await each for each in opening]
    try:
        yield stores[0] if len(stores) == 1 else stores
    finally:
        for store in stores:
            await store.close()


def test_a_request_s_life(opened):
    async def live():
        async with closing(opened()) as store:
            job = await store.add(DAY, secret="one", **NEW)
            assert await store.get(job.id) == job and await store.by_secret("one") == job
            assert (await store.load("anna", DAY)).__dict__ == {"queued": 1, "own": 1, "pictures": 2}
            assert (await store.load("ben", DAY)).__dict__ == {"queued": 1, "own": 0, "pictures": 0}
            await store.set_meta(job.id, {"files": {"a": "b"}})
            await store.set_progress({job.id: 0.25})
            found = await store.get(job.id)
            assert (found.meta, found.progress, found.as_base64, found.track_id) == ({"files": {"a": "b"}}, 0.25, True, "7")
            assert await store.ahead(job.id) == 0 and await store.ahead(job.id + 1) == 1
            done, is_own = await store.finish(found, SUCCESS, seconds=1.5, day=DAY, only="one", caller="one")
            assert is_own and await store.get(job.id) is done and await store.finish(job, FAILED) == (done, False)
        async with closing(opened()) as store:
            again = await store.get(job.id)
            assert again == done and (again.state, again.seconds, again.progress) == (SUCCESS, 1.5, None)
            assert (await store.load("anna", DAY)).__dict__ == {"queued": 0, "own": 0, "pictures": 2}
            assert await store.usual_seconds(9.0) == 1.5 and await store.waiting() == []
            assert [old.id for old in await store.older_than(again.finished + 1, 5)] == [job.id]
            await store.delete([job.id])
            assert await store.get(job.id) is None and (await store.add(DAY, secret="two", **NEW)).id > job.id

    asyncio.run(live())


def test_only_one_takes_over(opened):
    async def live():
        async with closing(opened()) as store:
            for front in ("one", "two"):
                await store.seen(front)
            job = await store.add(DAY, secret="one", **NEW)
            assert await store.alive(60) == {"one", "two"} and await store.orphans(60, 9) == []
            await store.leave("one")
            (orphan,) = await store.orphans(60, 9)
            assert (orphan.id, orphan.front) == (job.id, "")
            taken = await store.take_over(orphan, "two")
            assert taken.takeovers == 1 and await store.take_over(orphan, "three") is None
            assert await store.driven_by("two") == {job.id: ("one", 1)} and await store.orphans(60, 9) == []
            assert await store.finish(job, FAILED, "no", only="one") == (taken, False), "it isn't that front's any more"
            await store.drop([job.id], "one")
            assert await store.get(job.id) == taken

    asyncio.run(live())


def test_only_one_calls_a_webhook(opened):
    async def live():
        async with closing(opened()) as store:
            await store.seen("one")
            job = await store.add(DAY, secret="one", **NEW)
            await store.finish(job, SUCCESS, day=DAY, caller="one")
            assert await store.uncalled(60, 9) == []
            ((found, before),) = await store.uncalled(-1, 9)
            assert (found.id, before) == (job.id, "one")
            assert await store.take_call(job.id, "two", before) and not await store.take_call(job.id, "three", before)
            assert await store.take_call(job.id, "two", "two") and not await store.take_call(job.id, "one", "one")
            await store.webhook_done(job.id)
            assert not await store.take_call(job.id, "two", "two") and await store.uncalled(-1, 9) == []

    asyncio.run(live())


def test_texts_are_kept_as_far_as_they_can_be(opened):
    async def live():
        async with closing(opened()) as store:
            hard = {"prompt": "\0 \ud800 😀 100% :name {braces}"}
            job = await store.add(DAY, secret="one", **{**NEW, "meta": hard, "tip": "100% of :this {and} that"})
            assert (await store.get(job.id)).meta == hard and (await store.get(job.id)).tip == "100% of :this {and} that"

    asyncio.run(live())


def test_a_text_that_postgresql_can_t_hold(database):
    async def live():
        async with closing(opened_at(database)) as store:
            job = await store.add(DAY, secret="one", **{**NEW, "tip": "a\0b\ud800"})
            assert (await store.get(job.id)).tip == "a\N{REPLACEMENT CHARACTER}b?"

    asyncio.run(live())


# --- several at once


def test_many_fronts_make_the_tables_at_the_same_time(database):
    async def live():
        stores = await asyncio.gather(*(opened_at(database) for _ in range(6)))
        jobs = await asyncio.gather(*(store.add(DAY, secret=str(n), **NEW) for n, store in enumerate(stores)))
        assert len({job.id for job in jobs}) == 6
        for store in stores:
            await store.close()

    asyncio.run(live())


class Full(FaceGenError):
    pass


def test_no_more_are_added_than_there_is_room_for(database):
    def room(load):
        if load.queued >= 5:
            raise Full("No more.")

    async def live():
        async with closing(*(opened_at(database) for _ in range(4))) as stores:
            adding = [stores[n % 4].add(DAY, room, secret=str(n), **NEW) for n in range(24)]
            results = await asyncio.gather(*adding, return_exceptions=True)
            assert sum(isinstance(each, Full) for each in results) == 19 and len(await stores[0].waiting()) == 5

    asyncio.run(live())


def test_all_hear_of_what_one_stores(database):
    async def live():
        async with closing(opened_at(database), opened_at(database)) as (one, two):
            job = await one.add(DAY, secret="one", **NEW)
            changes = two.changes()
            assert await anext(changes) is None
            hearing = asyncio.ensure_future(anext(changes))
            await one.set_progress({job.id: 0.5})
            await asyncio.sleep(0.1)
            assert not hearing.done(), "only of outcomes"
            await one.finish(job, FAILED, "no")
            assert await asyncio.wait_for(hearing, 5) == job.id
            await changes.aclose()

    asyncio.run(live())


def test_a_database_that_was_restarted_is_there_again_by_itself(postgres):
    url = postgres.new_database()

    async def live():
        async with closing(opened_at(url)) as store:
            job = await store.add(DAY, secret="one", **NEW)
            await asyncio.gather(*(store.waiting() for _ in range(8)))  # several connections
            postgres.stop()
            postgres.start()
            assert [each.id for each in await store.waiting()] == [job.id], "what changes nothing is asked again"
            postgres.stop()
            with pytest.raises(StoreAway, match="^The database of the requests can't be reached now"):
                await store.finish(job, FAILED)
            postgres.start()
            for _ in range(100):
                with contextlib.suppress(StoreAway):
                    assert (await store.finish(job, FAILED, "late"))[1]
                    break
                await asyncio.sleep(0.1)
            assert (await store.get(job.id)).message == "late"

    asyncio.run(live())


def test_tables_of_a_later_version(database, monkeypatch):
    async def live():
        async with closing(opened_at(database)):
            pass

    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, schema.Step(("ALTER TABLE jobs ADD COLUMN later TEXT",))))
    asyncio.run(live())
    monkeypatch.undo()
    with pytest.raises(StoreError, match="version 3, and this version of the pack knows 2"):
        asyncio.run(live())


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        ("postgresql://:secret-word@[bad/x", ConfigError, "The URL of the database can't be read"),
        ("postgresql://anna:secret-word@127.0.0.1:1/none", StoreAway, "can't be reached now"),
    ],
)
def test_a_database_that_can_t_be_had(url, kind, says, monkeypatch, caplog):
    monkeypatch.setattr(postgres_module, "PATIENCE", 1.0)
    with pytest.raises(kind, match=says) as error:
        asyncio.run(opened_at(url))
    assert "secret-word" not in str(error.value) + caplog.text


def test_a_library_that_is_not_there(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg_pool", None)
    with pytest.raises(MissingLibraryError, match="psycopg with its pool, which can't be imported.*requirements-scale.txt"):
        asyncio.run(opened_at("postgresql://127.0.0.1/none"))
