"""Calling a client's webhook when its request is done, signed as Standard Webhooks 1.0 says.

The call is repeated until the receiver answers 2xx, at most TRIES times, and begun again after a restart: the receiver may
see the same `webhook-id` more than once and has to expect it. Fetching is the fallback.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from ...errors import printable
from ..download import DownloadError, Limits, RefusedURL, post
from ..response import FAILED, FaceGenResponse
from .store.jobs import Job

TRIES = 4
PAUSE = 5.0  # seconds before the second try; each further one waits four times as long
LIMITS = Limits(seconds=30)
GONE = 410


def webhook_body(job: Job, response: FaceGenResponse) -> bytes:
    content = response.as_dict() | {"track_id": job.track_id}
    if response.status == FAILED:
        content.pop("output")
    return json.dumps(content).encode()


def signature(secret: str, identifier: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{identifier}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class Taken(Exception):
    """The call is somebody else's by now."""


async def deliver(
    job: Job, url: str, body: bytes, secret: str | None, allow: Iterable[str], is_ours: Callable[[], Awaitable[bool]]
) -> bool:
    """Call the webhook `url` of a request until it answers 2xx; whether it did.

    `is_ours` is asked before a call is repeated; Taken is raised when it isn't.
    """
    identifier = f"facegen-{job.work_id}"
    for number in range(TRIES):
        if number:
            await asyncio.sleep(PAUSE * 4 ** (number - 1))
            if not await is_ours():
                raise Taken
        now = int(time.time())
        headers = {"Content-Type": "application/json", "webhook-id": identifier, "webhook-timestamp": str(now)}
        if secret:
            headers["webhook-signature"] = signature(secret, identifier, now, body)
        try:
            status = await post(url, body, headers, LIMITS, allow)
        except RefusedURL as error:
            logging.warning("FaceGen: the webhook of request %s is not called. %s", job.id, printable(error))
            return False
        except DownloadError as error:
            logging.warning("FaceGen: the webhook of request %s failed. %s", job.id, printable(error))
            continue
        if 200 <= status < 300:
            return True
        logging.warning("FaceGen: the webhook of request %s answers %s.", job.id, status)
        if status == GONE:
            return False
    return False
