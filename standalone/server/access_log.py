"""A line for each HTTP request, written at once: it would cost more than the answer if it went through logging."""

import contextlib
import json
import sys
import time

from .logs import REQUEST_ID

MOST_KINDS = 1000  # methods, routes and outcomes that are remembered together; a method may be any word


class AccessLog:
    """Writes to stderr as it is when a line comes, in the form of logs.JsonLines."""

    def __init__(self) -> None:
        self._second, self._stamp = 0, ""
        self._middles: dict[tuple[str, str, str], str] = {}  # what lines of a kind have in common, as JSON

    def write(self, method: str, route: str, outcome: str, seconds: float) -> None:
        """One request: its route and never its address, which may hold what is private."""
        if (middle := self._middles.get((method, route, outcome))) is None:
            middle = json.dumps({"method": method, "route": route, "outcome": outcome})[1:-1]
            if len(self._middles) < MOST_KINDS:
                self._middles[method, route, outcome] = middle
        head = f'{{"time": "{self._now()}", "level": "info", "message": "answered", "request": "{REQUEST_ID.get()}"'
        with contextlib.suppress(OSError, ValueError):  # the disk is full, or nobody reads any more: answers are worth more
            sys.stderr.write(f'{head}, {middle}, "seconds": {seconds:.4f}}}\n')

    def _now(self) -> str:
        """UTC, to the millisecond; what is above the second is written out once a second."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}+00:00"
