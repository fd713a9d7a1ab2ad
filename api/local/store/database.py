"""What the job store asks of a database, and what it says when that can't be had.

Statements are written once, in the SQL that SQLite and PostgreSQL have in common. Values stand as `:name`, and `{now}` is the
database's own clock in seconds since the epoch, so that the clocks of several machines need not agree.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from ....errors import FaceGenError

Row = Mapping[str, Any]


class StoreError(FaceGenError):
    """The store can't be opened, read or written; the message, which clients read, says what may be in the way."""


class StoreAway(StoreError):
    """The database can't be reached now. It may be there again soon: what was asked for can be asked for again."""

    retry_after = 5  # seconds


class Statements(Protocol):
    """Runs statements. Each method raises StoreError."""

    async def rows(self, statement: str, **values: Any) -> list[Row]: ...

    async def change(self, statement: str, **values: Any) -> int:
        """How many rows were changed."""
        ...

    async def insert(self, statement: str, **values: Any) -> int:
        """The id of the row that is added."""
        ...


class Transaction(Statements, Protocol):
    """Statements that take effect together or not at all."""

    async def alone(self) -> None:
        """Wait until no other transaction that has asked for the same is under way."""
        ...


class Database(Statements, Protocol):
    """`is_shared`: whether other processes may be at work in it, too."""

    is_shared: bool

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    def changes(self) -> AsyncIterator[int | None]:
        """The ids of jobs as their outcome is stored by whomever; None where some may have been missed, so at the beginning.
        It doesn't end, and has nothing to tell where the database isn't shared."""
        ...

    async def close(self) -> None: ...
