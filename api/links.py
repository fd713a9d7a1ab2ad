"""URLs that somebody else wrote, requested as they were written: a signature in one holds for its spelling alone."""

import re
from urllib.parse import quote, urljoin

from yarl import URL

PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<host>//[^/?#]*)?(?P<rest>[^#]*)")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
NOT_IN_A_REQUEST = re.compile(r"[^!-~]+")  # all else stays as it is, even what no URL should hold


def read_link(text: str) -> URL:
    """The URL in `text`, whose path and query are requested byte for byte. Spaces and characters beyond ASCII in them are
    percent-encoded as UTF-8, and the fragment is left out; scheme and host are normalised.

    Raises ValueError for what is no URL, has a port that is none, or holds control characters.
    """
    text = text.strip()
    if CONTROL.search(text):
        raise ValueError("a control character in a URL")
    url = URL(text)
    parts = PARTS.match(text)
    if not url.host or not parts or not parts["host"]:
        return url
    rest = NOT_IN_A_REQUEST.sub(lambda found: quote(found[0], safe="", errors="surrogateescape"), parts["rest"])
    path = rest if rest.startswith("/") else f"/{rest}"  # with the query: apart, an empty one would get lost
    return URL.build(scheme=url.scheme, authority=url.raw_authority, path=path, encoded=True)


def join_link(current: URL, location: str) -> str:
    """Where a redirect from `current` leads, as it was written."""
    location = location.strip()
    if PARTS.match(location):
        return location
    if location.startswith("//"):
        return f"{current.scheme}:{location}"
    if location.startswith("/"):
        return f"{current.origin()}{location}"
    return urljoin(str(current), location)
