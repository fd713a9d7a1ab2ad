"""A front among others that share the store: it says that it is alive, hears what others did, and takes over from those that
are gone.

Whoever was not seen for a lease counts as gone. A front judges others only when it has reached the database itself all that
time: when the database comes back after a while, everybody looks gone until they have said otherwise.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable

from .driver import Driver
from .store.database import StoreError
from .store.jobs import Job, JobStore
from .webhook_calls import WebhookCalls

BEATS = 5  # in a lease
MOST_TAKEN = 25  # requests and webhooks that are taken over at a time, so that others get some, too
SMALLEST_STEP = 0.05  # of progress that others are told
LONG_GONE = 20  # leases after which a front is forgotten


class Fronts:
    """This front, as the others see it. `adding` holds the secrets of requests that are being added, `take` begins to drive one
    again, `notice` is told of a request that others changed, and of None where that isn't known."""

    def __init__(
        self,
        lease: float,
        store: JobStore,
        driver: Driver,
        calls: WebhookCalls,
        adding: set[str],
        take: Callable[[Job], None],
        notice: Callable[[int | None], Awaitable[None]],
    ):
        self.lease, self._store, self._driver, self._calls = lease, store, driver, calls
        self._adding, self._take, self._notice = adding, take, notice
        self._since = (
            self._last
        ) = -math.inf  # when this front began to reach the database without a break, and when it last did
        self._told: dict[int, float] = {}  # progress that was stored, by request
        self.why_away = ""

    async def listen(self) -> None:
        """Hear of requests whose outcome is stored. It doesn't end. Raises StoreError."""
        async for identifier in self._store.changes():
            await self._notice(identifier)

    async def beat(self) -> None:
        """To be called BEATS times in a lease. Raises StoreError."""
        try:
            await self._store.seen(self._driver.front)
            before, self._last = self._last, time.monotonic()
            if self._last - before > self.lease:
                self._since = self._last
            await self._tell_progress()
            await self._compare()
            await self._calls.look_after()
            if self._last - self._since > self.lease:
                await self._take_over()
        except StoreError as error:
            self.why_away = str(error)
            raise
        if self.why_away:
            logging.info("FaceGen: the database is there again")
        self.why_away = ""

    async def _tell_progress(self) -> None:
        """What others answer of the requests in work here."""
        told = {}
        for identifier, entry in self._driver.driven.items():
            progress = entry.state.progress
            if progress is not None and progress - self._told.get(identifier, -1.0) >= SMALLEST_STEP:
                told[identifier] = progress
        if told:
            await self._store.set_progress(told)
        kept = {identifier: each for identifier, each in self._told.items() if identifier in self._driver.driven}
        self._told = {**kept, **told}

    async def _compare(self) -> None:
        """What this front does with what the store says, for a notification may be lost and an answer, too."""
        known = set(self._driver.driven)
        mine = await self._store.driven_by(self._driver.front)
        for identifier in known - set(mine):
            await self._notice(identifier)
        driven = {*self._driver.driven, *self._driver.unstored}
        strays = {id: taken for id, (secret, taken) in mine.items() if id not in driven and secret not in self._adding}
        for identifier in (id for id, taken in strays.items() if taken):  # its taking over was stored, unheard of
            if (job := await self._store.get(identifier)) and job.is_waiting:
                self._take(job)
        # These were stored, but the client was told that they weren't.
        await self._store.drop([id for id, taken in strays.items() if not taken], self._driver.front)

    async def _take_over(self) -> None:
        for job in await self._store.orphans(self.lease, MOST_TAKEN):
            if (taken := await self._store.take_over(job, self._driver.front)) is not None:
                logging.warning("FaceGen: request %s is taken over from a front that is gone", job.id)
                self._take(taken)
        await self._calls.take(self.lease, MOST_TAKEN)
        await self._store.forget_fronts(LONG_GONE * self.lease)
