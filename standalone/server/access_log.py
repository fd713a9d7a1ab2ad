"""A line for each HTTP request. It would cost more than the answer if it went through logging or were written by itself."""

import asyncio
import contextlib
import json
import sys
import time

from .logs import REQUEST_ID

MOST_KINDS = 1000  # methods, routes and outcomes that are remembered together; a method may be any word
DELAY = 0.05  # seconds that a line waits for others


class AccessLog:
    """Writes to stderr as it is when lines are due, in the form of logs.JsonLines. Lines come from an event loop."""

    def __init__(self) -> None:
        self._second, self._stamp = 0, ""
        self._middles: dict[tuple[str, str, str], str] = {}  # what lines of a kind have in common, as JSON
        self._waiting: list[tuple[float, str, str, str, str, float]] = []

    def write(self, method: str, route: str, outcome: str, seconds: float) -> None:
        """One request: its route and never its address, which may hold what is private."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(DELAY, self.flush)
        self._waiting.append((time.time(), REQUEST_ID.get(), method, route, outcome, seconds))

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        with contextlib.suppress(OSError, ValueError):  # the disk is full, or nobody reads any more: answers are worth more
            sys.stderr.write("".join(self._line(*entry) for entry in waiting))

    def _line(self, now: float, request: str, method: str, route: str, outcome: str, seconds: float) -> str:
        if (middle := self._middles.get((method, route, outcome))) is None:
            middle = json.dumps({"method": method, "route": route, "outcome": outcome})[1:-1]
            if len(self._middles) < MOST_KINDS:
                self._middles[method, route, outcome] = middle
        head = f'{{"time": "{self._utc(now)}", "level": "info", "message": "answered", "request": "{request}"'
        return f'{head}, {middle}, "seconds": {seconds:.4f}}}\n'

    def _utc(self, now: float) -> str:
        """To the millisecond; what is above the second is written out once a second."""
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}+00:00"
