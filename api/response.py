"""The Face Generator's answers: every shape that the service sends, read into one, and written as the service writes it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FaceGenError

SUCCESS, PROCESSING, ERROR, FAILED = "success", "processing", "error", "failed"
STATUSES = (SUCCESS, PROCESSING, ERROR, FAILED)


class ResponseError(FaceGenError):
    """What came back is not an answer of the Face Generator."""


@dataclass(frozen=True)
class FaceGenResponse:
    """One answer.

    `output` holds URLs, data URIs or base64, as sent; `message` is a sentence, or problems by field; `eta`, `retry_after` and
    `generation_time` are seconds; `future_links` are where the pictures of a request in work will be, `proxy_links` the
    same URLs once more, or the URLs of an output that is base64.
    """

    status: str
    id: int | str | None = None
    output: tuple[str, ...] = ()
    message: str | Mapping[str, list[str]] = ""
    tip: str = ""
    eta: float | None = None
    retry_after: float | None = None
    generation_time: float | None = None
    fetch_result: str | None = None
    future_links: tuple[str, ...] = ()
    proxy_links: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: Any) -> "FaceGenResponse":
        """Read a decoded JSON answer; ResponseError if it has no status the contract knows."""
        if not isinstance(body, Mapping):
            raise ResponseError(f"The answer is {type(body).__name__}, not a JSON object.")
        status = body.get("status")
        if status not in STATUSES:
            shown = repr(status)[:60] if "status" in body else "none"
            raise ResponseError(f"The answer's status is {shown}; {', '.join(STATUSES)} are known.")
        identifier = body.get("id")
        return cls(
            status=status,
            id=identifier if _is_id(identifier) else None,
            output=_strings(body.get("output")) or (_strings(body.get("proxy_links")) if status == SUCCESS else ()),
            message=_message(body.get("message") or body.get("messege") or ""),
            tip=_text(body.get("tip")),
            eta=_seconds(body.get("eta")),
            retry_after=_seconds(body.get("retry_after")),
            generation_time=_seconds(body.get("generationTime")),
            fetch_result=_text(body.get("fetch_result")) or None,
            future_links=_strings(body.get("future_links")),
            proxy_links=_strings(body.get("proxy_links")),
            meta=body["meta"] if isinstance(body.get("meta"), Mapping) else {},
        )

    @property
    def text(self) -> str:
        """The message as one line, problems by field included."""
        if isinstance(self.message, str):
            return self.message
        return " ".join(problem for problems in self.message.values() for problem in problems)

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, with the keys that the service sends for this status."""
        links = {"output": list(self.output), "proxy_links": list(self.proxy_links or self.output), "meta": dict(self.meta)}
        tip = {"tip": self.tip} if self.tip else {}
        if self.status == SUCCESS:
            return {"status": SUCCESS, **tip, "generationTime": self.generation_time, "id": self.id, **links}
        if self.status == PROCESSING:
            future = list(self.future_links)
            links |= {"output": [], "future_links": future, "proxy_links": future}
            head = {"status": PROCESSING, "tip": self.tip, "eta": self.eta, "message": self.message}
            return {**head, "fetch_result": self.fetch_result, "id": self.id, **links}
        retry = {} if self.retry_after is None else {"retry_after": self.retry_after}
        message = self.message if isinstance(self.message, str) else dict(self.message)
        if self.status == FAILED:
            return {"status": FAILED, "id": "" if self.id is None else self.id, "message": message, "output": "", **retry}
        return {"status": ERROR, "message": message, **retry}


def _is_id(value: Any) -> bool:
    return value != "" and isinstance(value, (int, str)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _strings(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return tuple(text for text in map(_text, values) if text)


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _message(value: Any) -> str | dict[str, list[str]]:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        return {str(name): [str(problem) for problem in _listed(problems)] for name, problems in value.items()}
    return " ".join(str(part) for part in _listed(value))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
