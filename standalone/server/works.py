"""What the backends of `serve` share: the works that they know, how those stand, and their pictures until the API has them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ...api.local.backend import CANCELLED, BackendError, Phase, State, Work

MOST_ENDED = 200  # that are known on: whoever waits for a work's end asks several times a second
LOST = State(Phase.FAILED, "The request was lost. Send it again.")


@dataclass
class KnownWork:
    """What is known of a work."""

    work: Work
    state: State = field(default_factory=lambda: State(Phase.WAITING), kw_only=True)
    is_cancelled: bool = field(default=False, kw_only=True)
    pictures: list[bytes] = field(default_factory=list, kw_only=True)


Known = TypeVar("Known", bound=KnownWork)


class Works(Generic[Known]):
    """The part of a Backend that is the same wherever pictures are made, see api/local/backend.py."""

    def __init__(self) -> None:
        self._entries: dict[str, Known] = {}

    @property
    def why_away(self) -> str:
        """Why nothing can be made just now; "" while it can."""
        return ""

    def _know(self, entry: Known) -> Known:
        """From now on, this work; of those that have ended long ago, and whose pictures the API has, no longer all."""
        self._entries[entry.work.id] = entry
        over = [id for id, known in self._entries.items() if known.state.has_ended and not known.pictures][:-MOST_ENDED]
        for id in over:
            del self._entries[id]
        return entry

    def knows(self, id: str) -> bool:
        """Whether anything of a work is left; cancel deletes it once it has ended."""
        return id in self._entries

    async def check_room(self) -> None:
        """As many may wait as the settings allow."""

    async def state(self, ids: Collection[str]) -> Mapping[str, State]:
        return {id: self._entries[id].state if id in self._entries else LOST for id in ids}

    async def cancel(self, id: str) -> None:
        entry = self._entries.get(id)
        if entry is None:
            return
        if entry.state.has_ended:
            del self._entries[id]
            return
        entry.is_cancelled = True
        await self._stop(entry)
        if entry.state.phase is Phase.WAITING:
            entry.state = State(Phase.FAILED, CANCELLED)

    async def _stop(self, entry: Known) -> None:
        """Tell whoever makes a work that it is cancelled, where somebody has to be told."""

    async def pictures(self, id: str) -> list[bytes]:
        entry = self._entries.get(id)
        if entry is None:
            raise BackendError(LOST.message)
        pictures, entry.pictures = entry.pictures, []  # the API keeps them
        return pictures
