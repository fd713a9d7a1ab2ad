"""The hosted Face Generator, asked so that nothing is paid for twice.

A request is sent again only when no connection came about, or when the service says in so many words that it did not take it.
Once it may have been taken, it is fetched and never sent again.
"""

import asyncio
import itertools
import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

from ...contract import ENDPOINTS, FACE_GEN, ContractError, FaceGenRequest, known_styles
from ...errors import printable
from ...picture_file import PictureError
from ..download import DownloadError, Limits, RefusedURL, download
from ..response import FAILED, PROCESSING, SUCCESS, FaceGenResponse
from .exchange import Answer, NoAnswer, NotSent, exchange, new_session
from .profiles import HOSTED, Profile
from .refusals import (
    OTHER,
    RATE,
    RemoteError,
    is_lost,
    is_taken,
    refusal,
    refused,
    refused_submit,
    says_not_taken,
    uncertain,
    unfetched,
)
from .result_images import MAX_BYTES, from_bytes, from_text, is_link, to_batch

MAX_BODY = 5_000_000  # bytes of a request that the service takes
MAX_PICTURES = 16
POLL_SECONDS = 60  # for one fetch; a server may hold it for a while
LAST_POLL_SECONDS = 15  # for the one after the deadline
SENDS = 8  # of one request, none of which was taken
EMPTY_ANSWERS = 3  # successes without a picture before giving up
EMPTY = "it says success and gives no picture"
IN_WORK = "it is still in work"
DOWNLOADS = 3  # tries for one picture
DOWNLOAD = Limits(bytes=MAX_BYTES * 3 // 2)  # the text of base64 is longer than its picture
LONG_TEXT = 2000  # characters that the response's text may have in one place
ID = re.compile(r"[\w.-]{1,100}", re.ASCII)


@dataclass(frozen=True)
class Pace:
    """Seconds between tries: they grow by `factor` from `first` to `longest`, each times a random 0.75 to 1.25."""

    first: float = 2.0
    longest: float = 15.0
    factor: float = 1.5
    least: float = 1.0  # after an eta or a retry_after of next to nothing
    longest_eta: float = 60.0  # an eta further off is not waited for in one go

    def wait(self, number: int) -> float:
        return min(self.longest, self.first * self.factor ** min(number, 50)) * random.uniform(0.75, 1.25)


@dataclass
class Progress:
    """Where a request stands; `due` is when the service expects to be done (monotonic seconds)."""

    state: str = "connecting"
    request_id: int | str | None = None
    sending: bool = False  # a request is under way whose answer isn't here
    started: float = field(default_factory=time.monotonic)
    due: float | None = None

    def __str__(self) -> str:
        now = time.monotonic()
        parts = [self.state, f"{now - self.started:.0f} s"]
        if self.due is not None and self.due > now:
            parts.append(f"about {self.due - now:.0f} s left")
        return ", ".join(parts if self.request_id is None else [*parts, f"request {printable(self.request_id)}"])


@dataclass(frozen=True)
class Result:
    """Pictures float32 [B, H, W, 3] from 0 to 1, and the service's last answer without key and pictures."""

    pictures: np.ndarray
    response: dict[str, Any]


class FaceGenClient:
    """One request to the service of `profile`, to be done within `seconds`.

    `on_id` is called with the id of the work as soon as it is known. Both methods raise RemoteError.
    """

    def __init__(
        self,
        profile: Profile,
        seconds: float,
        on_id: Callable[[int | str], None],
        pace: Pace = Pace(),
        limits: Limits = DOWNLOAD,
    ):
        self.profile, self.pace, self.limits, self.progress = profile, pace, limits, Progress()
        self._on_id = on_id
        self._seconds = seconds
        self._deadline = self.progress.started + seconds
        self._endpoint = profile.endpoint(FACE_GEN)

    async def generate(self, request: FaceGenRequest) -> Result:
        """Have pictures made: this is billed, at most once. Raises ContractError for a style that isn't the service's."""
        self._endpoint = ENDPOINTS[request.endpoint]
        if "style" in self._endpoint.fields and (problem := known_styles().problem(request.style)):
            raise ContractError({"style": [problem]})
        body = json.dumps({"key": self.profile.key, **request.as_dict()}).encode()
        if len(body) > MAX_BODY:
            raise RemoteError(f"The request has {len(body)} bytes; {MAX_BODY} are taken. Shorten the prompts.")
        async with new_session() as session:
            response = await self._submit(session, body)
            self._heed(response)
            if response.status != SUCCESS or not response.output:
                response = await self._poll(session, response, self._first_wait(response))
            return await self._result(response)

    async def fetch(self, request_id: str, endpoint: str = FACE_GEN) -> Result:
        """The pictures of earlier work of that endpoint, of ENDPOINT_NAMES, without paying again."""
        self._endpoint = self.profile.endpoint(endpoint)
        if not ID.fullmatch(request_id):
            raise RemoteError(f"request_id {request_id[:100]!r} is none: letters, digits and . _ - are in one.")
        self.progress.request_id = request_id
        self._state("fetching")
        async with new_session() as session:
            return await self._result(await self._poll(session, FaceGenResponse(PROCESSING, request_id), 0.0))

    async def _submit(self, session: aiohttp.ClientSession, body: bytes) -> FaceGenResponse:
        for number in range(SENDS):
            self._state("sending the photo and waiting for an answer")
            self.progress.sending = True
            try:
                answer = await exchange(session, self.profile.submit_url(self._endpoint), body, self.profile, self._left())
            except NotSent as error:
                self.progress.sending = False
                problem = RemoteError(f"Nothing was sent: {error}. Check the network and the profile {self.profile.name!r}.")
                if error.final:
                    raise problem from None
                wait = self.pace.wait(number)
            except NoAnswer as error:
                raise uncertain(str(error), self.profile) from None
            else:
                self.progress.sending = False
                if (response := answer.response) is not None and is_taken(response):
                    return response
                problem = self._not_taken(answer)
                if not says_not_taken(answer.code, answer.response):
                    raise problem
                wait = self._asked_wait(answer, number)
            if wait >= self._left() or number == SENDS - 1:
                break
            self._state(f"not taken yet, sending again in {wait:.0f} s")
            await asyncio.sleep(wait)
        raise RemoteError(f"{problem} Nothing was billed, tries: {number + 1}. The next one may be made in {wait:.0f} seconds.")

    def _not_taken(self, answer: Answer) -> RemoteError:
        """The error for an answer to a submit that is no success."""
        if answer.response is not None:
            return refused_submit(answer.code, answer.response, self.profile)
        if is_lost(answer.code) or answer.code < 300:
            return uncertain(f"HTTP {answer.code}. {answer.problem}", self.profile)
        if answer.code < 400:
            return RemoteError(f"{self.profile.host} answers with a redirect ({answer.code}). Correct the profile's base_url.")
        return refused(answer.code, answer.problem, self.profile)

    async def _poll(self, session: aiohttp.ClientSession, response: FaceGenResponse, wait: float) -> FaceGenResponse:
        """Ask until there is a success with pictures, or the deadline; at the deadline once more."""
        links, url = response.future_links, self._fetch_url(response)
        if url is None:
            raise unfetched(response.text or IN_WORK, self.profile, None, links)
        body, empty = json.dumps({"key": self.profile.key}).encode(), 0
        for number in itertools.count():
            await asyncio.sleep(min(wait, max(0.0, self._left())))
            late = self._left() <= 0
            done, wait, problem = await self._ask(session, url, body, number)
            if done is not None:
                return done
            empty += problem == EMPTY
            if late and empty < EMPTY_ANSWERS:
                problem = f"{problem.rstrip('. ')}, after {self._seconds:.0f} seconds (timeout)"
            if late or empty >= EMPTY_ANSWERS:
                break
        raise unfetched(problem, self.profile, self.progress.request_id, links)

    async def _ask(
        self, session: aiohttp.ClientSession, url: str, body: bytes, number: int
    ) -> tuple[FaceGenResponse | None, float, str]:
        """One fetch: the answer if it has pictures; else the seconds to wait before the next, and why there are none."""
        wait = self.pace.wait(number)
        try:
            seconds = min(POLL_SECONDS, max(self._left(), LAST_POLL_SECONDS))
            answer = await exchange(session, url, body, self.profile, seconds)
        except (NotSent, NoAnswer) as error:
            return None, wait, str(error)
        response = answer.response
        if response is None:
            if answer.code in (401, 402, 403):
                raise self._unfetched_for(answer.code, answer.problem)
            return None, self._asked_wait(answer, number), f"HTTP {answer.code}. {answer.problem}"
        if response.status == SUCCESS:
            return (response, 0.0, "") if response.output else (None, wait, EMPTY)
        if response.status == PROCESSING:
            self._heed(response)
            return None, wait, IN_WORK
        if response.status == FAILED:
            raise refused(answer.code, response.text, self.profile, self.progress.request_id)
        kind = refusal(answer.code, response.text).name
        if kind == RATE or (kind == OTHER and (is_lost(answer.code) or response.retry_after is not None)):
            return None, self._asked_wait(answer, number), response.text
        raise self._unfetched_for(answer.code, response.text)

    def _unfetched_for(self, code: int, text: str) -> RemoteError:
        return unfetched(str(refused(code, text, self.profile)), self.profile, self.progress.request_id)

    async def _result(self, response: FaceGenResponse) -> Result:
        pictures = await self._pictures(response)
        self._state("done")
        return Result(to_batch(pictures), _without_pictures(response))

    async def _pictures(self, response: FaceGenResponse) -> list[np.ndarray]:
        if len(response.output) > MAX_PICTURES:
            reason = f"the answer names {len(response.output)} pictures"
            raise unfetched(reason, self.profile, self.progress.request_id)
        pictures = []
        for number, output in enumerate(response.output, 1):
            self._state(f"fetching picture {number} of {len(response.output)}")
            try:
                pictures.append(await self._picture(output))
            except (DownloadError, PictureError) as error:
                links = tuple(link for link in response.output if is_link(link))
                reason = f"picture {number}: {error}"
                raise unfetched(reason, self.profile, self.progress.request_id, links) from None
        return pictures

    async def _picture(self, output: str) -> np.ndarray:
        """One picture of an answer. A link is tried again, as it may lead there before the picture does.

        A server that the user set in the profile may be on a private network; others may not lead there.
        """
        if not is_link(output):
            return from_text(output)
        allow = () if self.profile.base_url == HOSTED else (self.profile.host,)
        for number in range(DOWNLOADS - 1):
            try:
                return from_bytes(await download(output, self.limits, allow))
            except RefusedURL:
                raise
            except (DownloadError, PictureError):
                await asyncio.sleep(self.pace.wait(number))
        return from_bytes(await download(output, self.limits, allow))

    def _fetch_url(self, response: FaceGenResponse) -> str | None:
        """Where to ask for the result. The address that the answer gives gets the key only if it is the profile's server."""
        if response.fetch_result and self.profile.owns(response.fetch_result):
            return response.fetch_result
        return None if response.id is None else self.profile.fetch_url(self._endpoint, response.id)

    def _heed(self, response: FaceGenResponse) -> None:
        """Take over what an accepted request's answer says of it, and tell its id at once."""
        if response.id is not None and self.progress.request_id is None:
            self.progress.request_id = response.id
            self._on_id(response.id)
        if response.status == PROCESSING:
            self._state("in work")
            if response.eta is not None:
                self.progress.due = time.monotonic() + response.eta

    def _first_wait(self, response: FaceGenResponse) -> float:
        if response.eta is None:
            return self.pace.wait(0)
        return min(max(response.eta, self.pace.least), self.pace.longest_eta)

    def _asked_wait(self, answer: Answer, number: int) -> float:
        """The seconds that a refusal asks for, or ours if it asks for none."""
        asked = answer.response.retry_after if answer.response is not None else None
        asked = answer.retry_after if asked is None else asked
        return self.pace.wait(number) if asked is None else max(asked, self.pace.least)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _state(self, state: str) -> None:
        self.progress.state, self.progress.due = state, None


def _without_pictures(response: FaceGenResponse) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: short(item) for name, item in value.items()}
        if isinstance(value, list):
            return [short(item) for item in value]
        return f"({len(value)} characters)" if isinstance(value, str) and len(value) > LONG_TEXT else value

    answer: dict[str, Any] = short(response.as_dict())
    return answer | {"output": [output if is_link(output) else f"({len(output)} characters)" for output in response.output]}
