"""A coroutine on an event loop and a thread of its own, beside ComfyUI's.

A sampler blocks ComfyUI's loop for minutes; on that loop, an answer that was paid for could pass its time limit unread.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any


class OwnLoop:
    """`work` begins at once, and is done when it has returned or raised."""

    def __init__(self, work: Coroutine[Any, Any, Any]):
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(work)  # here, so that it knows which node is running
        self._done = threading.Event()
        self._outcome: tuple[Any, BaseException | None] = None, None
        threading.Thread(target=self._run, name="facegen", daemon=True).start()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def result(self) -> Any:
        """What the work returned, or its exception raised, once it is done."""
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    def cancel(self) -> None:
        with contextlib.suppress(RuntimeError):  # closed: it is done
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _run(self) -> None:
        try:
            self._outcome = self._loop.run_until_complete(self._task), None
        except BaseException as error:
            self._outcome = None, error
        finally:
            self._done.set()
            left = asyncio.all_tasks(self._loop)  # such as a name that is still being looked up
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.close()
