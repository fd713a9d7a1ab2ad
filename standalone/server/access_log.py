"""A line for each HTTP request, written at once: it would cost more than the answer if it went through logging."""

import json
import sys
import time

from .logs import REQUEST_ID


class AccessLog:
    """Writes to stderr as it is when a line comes, in the form of logs.JsonLines."""

    def __init__(self) -> None:
        self._second, self._stamp = 0, ""

    def write(self, method: str, route: str, outcome: str, seconds: float) -> None:
        """One request: its route and never its address, which may hold what is private."""
        line = {
            "time": self._now(),
            "level": "info",
            "message": "answered",
            "request": REQUEST_ID.get(),
            "method": method,
            "route": route,
            "outcome": outcome,
            "seconds": round(seconds, 4),
        }
        sys.stderr.write(f"{json.dumps(line)}\n")

    def _now(self) -> str:
        """UTC, to the millisecond; what is above the second is written out once a second."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}+00:00"
