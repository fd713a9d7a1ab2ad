"""What waits for the engine's thread, in order, and which works it takes at once because they fit together."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass

from ...contract import FaceGenRequest
from ..asked import shape_of
from ..model_files import ModelFiles
from .works import KnownWork

Call = Callable[[], None]
Size = tuple[ModelFiles, int, int]  # what decides how many pictures have room: the models, width and height


@dataclass(eq=False)
class Entry(KnownWork):
    """A work with its files. `asked` is its request as the model is asked. `context` is that of the call it came with, so that
    its log lines tell whose they are."""

    files: ModelFiles
    asked: FaceGenRequest
    context: Context

    def fits(self, other: "Entry") -> bool:
        """Whether both can be made in one batch."""
        return self.files == other.files and shape_of(self.asked) == shape_of(other.asked)

    @property
    def size(self) -> Size:
        return self.files, self.asked.width, self.asked.height


class Waiting:
    """`most` is how many pictures may be made in one batch; a work that asks for more is made by itself."""

    def __init__(self, most: int = 1):
        self._most, self._less = most, dict[Size, int]()
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
            together = [first, *self._fitting(first)]
            self._tasks = deque(task for task in self._tasks if task not in together)
            return together

    def had_no_room(self, entries: Sequence[Entry]) -> None:
        """From now on, at most half as many pictures of such are made at once."""
        self._less[entries[0].size] = max(1, sum(entry.asked.samples for entry in entries) // 2)

    def _fitting(self, first: Entry) -> Iterator[Entry]:
        room = min(self._most, self._less.get(first.size, self._most)) - first.asked.samples
        for task in self._tasks:
            if room < 1:
                return
            if isinstance(task, Entry) and not task.is_cancelled and task.asked.samples <= room and task.fits(first):
                room -= task.asked.samples
                yield task
