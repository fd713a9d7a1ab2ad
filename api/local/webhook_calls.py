"""Which front calls a webhook: one, the one that stored the outcome, until it is seen no more; then another takes it over.

So a receiver may hear of the same request twice only when a front ends between the call and the note that it was made, or is
held up for longer than its lease.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..response import FaceGenResponse
from . import webhooks
from .config import ConfigFile
from .driver import AGAIN
from .store.database import StoreAway, StoreError
from .store.jobs import Job, JobStore


class WebhookCalls:
    """`front` is who calls, `answer` gives what is told of a request, and `begin` runs something beside all else."""

    def __init__(
        self,
        front: str,
        store: JobStore,
        config: ConfigFile,
        answer: Callable[[Job], Awaitable[FaceGenResponse]],
        begin: Callable[[Awaitable[None]], None],
    ):
        self._front, self._store, self._config = front, store, config
        self._answer, self._begin = answer, begin
        self._calling: set[int] = set()

    def call(self, job: Job) -> None:
        """Begin to call the webhook of a finished request; this front has to be its caller in the store."""
        if job.webhook and job.id not in self._calling:
            self._calling.add(job.id)
            self._begin(self._call(job, job.webhook))

    async def look_after(self) -> None:
        """Call those that are this front's to call and that it doesn't call: that they are was stored, unheard of, or results
        could not be read. Raises StoreError."""
        for identifier in set(await self._store.called_by(self._front)) - self._calling:
            if (job := await self._store.get(identifier)) is not None:
                self.call(job)

    async def take(self, lease: float, most: int) -> None:
        """Call those that nobody calls any more. Raises StoreError."""
        for job, before in await self._store.uncalled(lease, most):
            if await self._store.take_call(job.id, self._front, before):
                self.call(job)

    async def _call(self, job: Job, url: str) -> None:
        try:
            await self._call_until_done(job, url)
        except (OSError, StoreError) as error:  # results can't be read now
            logging.warning("FaceGen: the webhook of request %s has to wait. %s", job.id, error)
        finally:
            self._calling.discard(job.id)

    async def _call_until_done(self, job: Job, url: str) -> None:
        body = webhooks.webhook_body(job, await self._answer(job))

        async def is_ours() -> bool:
            return await self._patiently(lambda: self._store.take_call(job.id, self._front, self._front))

        config = self._config.last
        try:
            if not await webhooks.deliver(job, url, body, config.webhook_secret, config.allowed_hosts, is_ours):
                logging.warning("FaceGen: the webhook of request %s was given up; fetching it still works.", job.id)
        except webhooks.Taken:
            return
        await self._patiently(lambda: self._store.webhook_done(job.id))

    async def _patiently(self, ask: Callable[[], Awaitable[object]]) -> bool:
        """Ask the store until it is there: a call that was made and not noted would be made again."""
        while True:
            try:
                return bool(await ask())
            except StoreAway:
                await asyncio.sleep(AGAIN)
