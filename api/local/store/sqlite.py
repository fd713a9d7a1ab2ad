"""The store in a file of this machine, which one process has to itself. It answers at once, so nothing here waits."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from .database import Row, StoreError

PRAGMAS = (
    "PRAGMA locking_mode = EXCLUSIVE",  # so that a second process can't take this one's work for work that was interrupted
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an id that a power cut forgot would be given to another request
    "BEGIN IMMEDIATE",
    "COMMIT",
)
WORDS = {
    "key": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "now": "((julianday('now') - 2440587.5) * 86400.0)",
}


class SqliteDatabase:
    """A Database, see database.py."""

    is_shared = False

    def __init__(self, path: Path):
        """Opens the file, which is made where it lacks. Raises StoreError."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._error(error) from error
        self._db.row_factory = sqlite3.Row
        try:
            for statement in PRAGMAS:
                self._run(statement)
            columns = {row["name"] for row in self._run("PRAGMA table_info(jobs)").fetchall()}
            if columns and "owner" not in columns:  # as in the first files
                self._run("ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT ''")
        except StoreError:
            self._db.close()
            raise

    async def rows(self, statement: str, **values: Any) -> list[Row]:
        try:
            return self._run(_in_words(statement), values).fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from error

    async def change(self, statement: str, **values: Any) -> int:
        return self._run(_in_words(statement), values).rowcount

    async def insert(self, statement: str, **values: Any) -> int:
        return self._run(_in_words(statement), values).lastrowid or 0

    async def alone(self) -> None:
        """Nobody else is here."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["SqliteDatabase"]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield self
            self._run("COMMIT")
        except BaseException:
            self._db.rollback()
            raise

    async def changes(self) -> AsyncIterator[int | None]:
        await asyncio.Event().wait()
        yield None

    async def close(self) -> None:
        self._db.close()

    def _run(self, statement: str, values: Mapping[str, Any] = {}) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> StoreError:
        shown = "/".join(self._path.parts[-4:])  # clients read it: not all of the path
        return StoreError(
            f"The local API's store, {shown}, can't be used ({error}): another process may be serving from the same folder, "
            "the disk may be full, or the file damaged."
        )


@cache  # few statements, each many times
def _in_words(statement: str) -> str:
    return statement.format(**WORDS)
