"""The end of what runs beside an event loop's other work."""

import asyncio
from collections.abc import Iterable
from typing import Any

TOLD_AGAIN = 5.0  # seconds that a task has for what it does at its end


async def end_tasks(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancel them, and wait until all have ended; what they raise is dropped.

    Before Python 3.12 asyncio.wait_for, on which libraries rely, may lose that its task is cancelled: then it is told again.
    """
    left = every = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=TOLD_AGAIN)
    await asyncio.gather(*every, return_exceptions=True)
