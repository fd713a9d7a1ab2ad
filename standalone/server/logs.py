"""Log lines as JSON, one object a line, each with the id of the request that it is about. Prompts and faces are in none."""

import json
import logging
import random
import re
import sys
import threading
from contextvars import ContextVar
from datetime import datetime, timezone
from types import TracebackType

from ...errors import printable

REQUEST_ID: ContextVar[str] = ContextVar("facegen_request_id", default="")
IDS = random.Random()  # of its own: libraries seed the common one anew, and ids would come again
GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_request_id(given: str | None) -> str:
    """The id that the caller sent with its request, if it is one that a log can hold; else a new one."""
    return given if given and GIVEN.fullmatch(given) else f"{IDS.getrandbits(64):016x}"


class JsonLines(logging.Formatter):
    """time in UTC, level, message; request, where there is one; the error's traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": printable(record.getMessage()),
        }
        if request := REQUEST_ID.get():
            line["request"] = request
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_as_json(level: int = logging.INFO) -> None:
    """From now on, all that is logged goes to stderr in this form: Python's warnings, too, and errors that nobody caught.
    Libraries' own chatter stays out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("aiohttp.access", "asyncio", "urllib3", "PIL", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda hook: _uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    logging.critical("FaceGen: nobody caught %s", kind.__name__, exc_info=(kind, error or kind(), traceback))
