"""What the hosted service refuses, as errors: what it said, what it needs, and what was or may be billed."""

import re
from dataclasses import dataclass

from ...errors import FaceGenError, printable
from ..response import ERROR, PROCESSING, SUCCESS, FaceGenResponse
from .profiles import Profile

KEEPS = "24 hours"  # how long the service keeps results
LOOK = (
    "Look into the history of your account there before you send it once more: if it has an id there, its pictures can be "
    "fetched by it without paying again."
)
LONGEST = 500  # characters of a server's text that a message takes over


class RemoteError(FaceGenError):
    """A request to the hosted service that came to nothing.

    `request_id` is that of work which the service took, None if it took none or didn't say.
    """

    def __init__(self, message: str, request_id: int | str | None = None):
        super().__init__(message)
        self.request_id = request_id


class MayBeBilledError(RemoteError):
    """A request that was sent, and whose answer doesn't say whether it was taken."""


class RefusedPhotoError(RemoteError):
    """The service can't use the photo of the face."""


class NotFetchedError(RemoteError):
    """The service took the work and its pictures are not here; they can be fetched by `request_id`, which is set."""


@dataclass(frozen=True)
class Refusal:
    """A kind of refusal: the HTTP codes and the words that it is known by, what it says, and what is needed."""

    name: str
    codes: tuple[int, ...]
    words: re.Pattern[str]
    says: str
    needs: str
    error: type[RemoteError] = RemoteError


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


KEY, CREDITS, RATE, PICTURE, OTHER = "key", "credits", "rate", "picture", "other"
_KEY = r"\b(api|access|invalid|wrong|your) ?[-_]?(key|token)\b|unauthori[sz]ed|unauthenticated|forbidden"
_CREDITS = r"credit|balance|insufficient|funds|payment|subscri|upgrade|\bplan\b|\bquota\b|wallet|monthly|daily limit"
_RATE = r"rate.?limit|too many (requests|calls)|queued requests|slow down|throttl"
_PICTURE = (
    r"face_image|init_image|\b(no|without|multiple|detect\w*|find|found|visible|clear)\b[^.]{0,40}\bfaces?\b|\bfaces?\b[^.]{0,40}"
    r"\b(no|not|could|clear|visible|found|detect\w*)\b|\b(invalid|unsupported|corrupt\w*|bad|large|read|load)\b[^.]{0,20}"
    r"\b(image|picture|photo)\b|\b(image|picture|photo)\b[^.]{0,20}\b(invalid|unsupported|corrupt\w*|large)\b|base64"
    r"|too many faces"
)
# What the service documents for a queue that is full. Nothing else that comes with another code than 429 is as clear.
QUEUE_FULL = re.compile(r"rate limit exceeded\W{0,3}(maximum \d{1,6} queued requests allowed\W{0,3})?", re.IGNORECASE)
RATE_CODE, UNAVAILABLE = 429, 503
# Requests that ran out of time or got lost between two servers: how far they came is not known.
LOST_CODES = {303, 408, 425, 499}
REFUSALS = (
    Refusal(RATE, (429,), _words(_RATE), "refuses more requests for now", "Wait until others are done, then send it again."),
    Refusal(
        CREDITS,
        (402,),
        _words(_CREDITS),
        "says the account can't pay for this",
        "Add credits or change the plan on the service's site.",
    ),
    Refusal(KEY, (401, 403), _words(_KEY), "refuses the API key", "Correct the key in {source} (profile {profile})."),
    Refusal(
        PICTURE,
        (),
        _words(_PICTURE),
        "refuses the picture",
        "It needs one sharp photo of one face, seen from the front down to the shoulders.",
        RefusedPhotoError,
    ),
)
UNKNOWN = Refusal(OTHER, (), _words(r""), "could not do this", "Change what the message names, or try again later.")


def refusal(code: int, text: str) -> Refusal:
    """The kind of a refusal: its words count more than its HTTP code."""
    by_words = next((kind for kind in REFUSALS if kind.words.search(text)), None)
    return by_words or next((kind for kind in REFUSALS if code in kind.codes), UNKNOWN)


def is_lost(code: int) -> bool:
    """Whether an HTTP code leaves open what became of a request."""
    return code >= 500 or code in LOST_CODES


def says_not_taken(code: int, response: FaceGenResponse | None) -> bool:
    """Whether an answer to a submit says for certain that the work was not taken, and may be sent again later."""
    if response is None:
        return code == RATE_CODE
    if response.status != ERROR or response.id is not None:
        return False
    if code == RATE_CODE:
        return refusal(code, response.text).name in (RATE, OTHER)
    return (code < 500 or code == UNAVAILABLE) and QUEUE_FULL.fullmatch(response.text) is not None


def refused(code: int, text: str, profile: Profile, request_id: int | str | None = None) -> RemoteError:
    kind = refusal(code, text)
    number = f" (HTTP {code})" if code >= 400 else ""
    work = f" request {printable(request_id)}" if request_id is not None else ""
    needs = kind.needs.format(source=profile.source, profile=profile.name)
    return kind.error(f"{profile.host} {kind.says}{number}{work}: {_cut(text) or 'no reason is given'}. {needs}", request_id)


def refused_submit(code: int, response: FaceGenResponse, profile: Profile) -> RemoteError:
    """The error for an answer to a submit that is no success, with what is known of the bill."""
    kind = refusal(code, response.text)
    if response.status == ERROR and response.id is not None:
        return unfetched(f"it answers: {response.text}", profile, response.id)
    if is_lost(code) and kind.name in (RATE, OTHER):
        return uncertain(f"HTTP {code}. {response.text}", profile)
    problem = refused(code, response.text, profile, response.id)
    # A wrong field, an account and a key are looked at before anything is made.
    if not isinstance(response.message, str) or kind.name in (KEY, CREDITS) or says_not_taken(code, response):
        return problem
    kind_of_error = MayBeBilledError if type(problem) is RemoteError else type(problem)
    return kind_of_error(f"{problem} It may have been billed. {LOOK}", problem.request_id)


def uncertain(reason: str, profile: Profile) -> RemoteError:
    return MayBeBilledError(
        f"The request was sent to {profile.host}, but its answer is lost: {_cut(reason)}. It may have been billed, so it was "
        f"not sent again. {LOOK}"
    )


def unfetched(reason: str, profile: Profile, request_id: int | str | None, links: tuple[str, ...] = ()) -> RemoteError:
    """Work that the service took, and whose pictures are not here."""
    shown = [printable(link) for link in links[:4] if len(link) <= LONGEST]
    later = f" Its pictures are to be at {' '.join(shown)}" if shown else ""
    if request_id is None:
        return RemoteError(
            f"{profile.host} took the request and may bill it, but gave no id to fetch it by: {_cut(reason)}.{later}"
        )
    number = printable(request_id)
    return NotFetchedError(
        f"Request {number} was taken by {profile.host} and may be billed, but its pictures are not here: {_cut(reason)}. "
        f"They can be fetched by the id {number} without paying again, within {KEEPS}.{later}",
        request_id,
    )


def is_taken(response: FaceGenResponse | None) -> bool:
    return response is not None and response.status in (SUCCESS, PROCESSING)


def _cut(text: str) -> str:
    text = printable(text.rstrip(". "))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
