"""The tables, and how those of an earlier version become them. Each step is done once, all that lack in one transaction.

prompt_id is the work's id at the backend; it and `temporary`, which is empty, are from when there was one backend only. Columns
are added with defaults and none is taken away, so that a version before this one can still use the file.
"""

from dataclasses import dataclass

from .database import Database, StoreError

CHANNEL = "facegen_jobs"  # where PostgreSQL tells of jobs whose outcome is stored


@dataclass(frozen=True)
class Step:
    """Statements of one version of the tables; `shared` are only for a database of several fronts."""

    statements: tuple[str, ...]
    shared: tuple[str, ...] = ()


FIRST = Step(
    (
        """CREATE TABLE IF NOT EXISTS jobs (
            id {key},
            secret TEXT NOT NULL UNIQUE,
            prompt_id TEXT NOT NULL,
            created DOUBLE PRECISION NOT NULL,
            finished DOUBLE PRECISION,
            state TEXT NOT NULL,
            samples INTEGER NOT NULL,
            as_base64 INTEGER NOT NULL,
            tip TEXT NOT NULL,
            meta TEXT NOT NULL,
            message TEXT NOT NULL DEFAULT '',
            seconds DOUBLE PRECISION,
            temporary TEXT NOT NULL DEFAULT '[]',
            webhook TEXT,
            track_id TEXT,
            origin TEXT NOT NULL,
            owner TEXT NOT NULL DEFAULT ''
        )""",
        """CREATE TABLE IF NOT EXISTS used (
            owner TEXT NOT NULL,
            day TEXT NOT NULL,
            pictures INTEGER NOT NULL,
            PRIMARY KEY (owner, day)
        )""",
    )
)
# `front` drives the job, `caller` calls its webhook, `progress` is null as long as the job waits. A front is alive as long as
# it was seen lately.
FRONTS = Step(
    (
        "ALTER TABLE jobs ADD COLUMN front TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN caller TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN takeovers INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN progress DOUBLE PRECISION",
        "CREATE TABLE fronts (id TEXT PRIMARY KEY, seen DOUBLE PRECISION NOT NULL)",
        "DROP INDEX IF EXISTS jobs_by_state",  # of which all but the waiting ones are never asked
        "CREATE INDEX jobs_waiting ON jobs (id) WHERE state = 'waiting'",
        "CREATE INDEX jobs_to_call ON jobs (id) WHERE webhook IS NOT NULL",
        "CREATE INDEX jobs_made ON jobs (id) WHERE seconds IS NOT NULL",
        "CREATE INDEX jobs_finished ON jobs (finished) WHERE finished IS NOT NULL",
    ),
    (
        f"""CREATE FUNCTION facegen_job_changed() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_notify('{CHANNEL}', NEW.id::text); RETURN NULL; END $$""",
        """CREATE TRIGGER facegen_job_changed AFTER UPDATE OF state ON jobs
            FOR EACH ROW EXECUTE FUNCTION facegen_job_changed()""",
    ),
)
STEPS = (FIRST, FRONTS)


async def bring_up_to_date(database: Database) -> None:
    """Make the tables, or add what they lack. Raises StoreError, also for tables of a later version."""
    async with database.transaction() as at:
        await at.alone()
        await at.change("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        rows = await at.rows("SELECT version FROM schema_version")
        version = rows[0]["version"] if rows else 0
        if version > len(STEPS):
            raise StoreError(
                f"The local API's store has tables of version {version}, and this version of the pack knows {len(STEPS)}: "
                "a later one has used it. Update the pack."
            )
        if version == len(STEPS):
            return
        for step in STEPS[version:]:
            for statement in (*step.statements, *(step.shared if database.is_shared else ())):
                await at.change(statement)
        await at.change("DELETE FROM schema_version")
        await at.change("INSERT INTO schema_version (version) VALUES (:version)", version=len(STEPS))
