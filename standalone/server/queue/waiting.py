"""What waits for the engine's thread, in order, and which works it takes at once because they fit together."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass

from ....contract import FaceGenRequest
from ...model_files import ModelFiles
from ..works import KnownWork
from .room import Room, kind

Call = Callable[[], None]


@dataclass(eq=False)
class Entry(KnownWork):
    """A work with its files. `asked` is its request as the model is asked. `context` is that of the call it came with, so that
    its log lines tell whose they are."""

    files: ModelFiles
    asked: FaceGenRequest
    context: Context

    def fits(self, other: "Entry") -> bool:
        """Whether both can be made in one batch."""
        return kind(self) == kind(other)


class Waiting:
    """`room` says how many pictures may be made in one batch; a work that asks for more is made by itself."""

    def __init__(self, room: Room):
        self._room = room
        self._tasks: deque[Entry | Call] = deque()
        self._wakes = threading.Condition()

    def put(self, task: Entry | Call) -> None:
        with self._wakes:
            self._tasks.append(task)
            self._wakes.notify()

    def take(self) -> list[Entry] | Call:
        """What has waited longest, once there is something; with a work those behind it that fit to it, as far as there is
        room. Nothing is waited for to make a batch full."""
        with self._wakes:
            self._wakes.wait_for(lambda: self._tasks)
            first = self._tasks.popleft()
            if not isinstance(first, Entry):
                return first
            together = self._room.cut([first, *self._fitting(first)])
            self._tasks = deque(task for task in self._tasks if task not in together)
            return together

    def _fitting(self, first: Entry) -> Iterator[Entry]:
        room = self._room.of(first) - first.asked.samples
        for task in self._tasks:
            if room < 1:
                return
            if isinstance(task, Entry) and not task.is_cancelled and task.asked.samples <= room and task.fits(first):
                room -= task.asked.samples
                yield task
