"""A call of the local API that passed the checks."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..config import LocalConfig
from ..runner import Runner
from .bodies import Share

WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})\b", re.IGNORECASE)


@dataclass(slots=True)  # frozen, it would take longer to make than most checks
class Call:
    """The settings that hold for it, the origin that was called, the decoded body with the room that it takes, and whose token
    it came with."""

    runner: Runner
    request: web.Request
    config: LocalConfig
    origin: str
    body: Any
    share: Share
    owner: str

    @property
    def sees(self) -> str | None:
        """Whose requests it may count and clear: its owner's; of all (None) with the one token, or where none is needed."""
        return self.owner or None

    def patience(self, seconds: float) -> float:
        """How long the answer may be held: as the settings say, or less where the caller says so (RFC 7240, Prefer: wait)."""
        if (given := self.request.headers.get("Prefer")) is None:
            return seconds
        preferred = WAIT.search(given)
        return min(seconds, int(preferred[1])) if preferred else seconds


Handler = Callable[[Call], Awaitable[web.Response]]
