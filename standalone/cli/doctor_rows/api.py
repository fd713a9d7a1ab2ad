"""The doctor's look at the local API: whether it is on, where it is reached, and with which files it makes pictures. The
running ComfyUI is asked, which alone knows the files that its loaders offer."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....api.local.place import address_file
from ....api.local.routes.paths import IN_USE
from .files import BROKEN, NOTE, OK, Row

TIMEOUT = 10  # seconds
LONGEST_ANSWER = 1 << 20  # bytes
LOCAL_API, FILES = "local API", "local API, {}"
NOT_ASKED = "on; its address and files are told while ComfyUI runs"


class NotAsked(Exception):
    """Nobody answers where the API was last."""


def local_api_rows(user: Path) -> Iterator[Row]:
    """`user` is ComfyUI's user/facegen."""
    from ....api.local.config import ConfigError, ConfigFile
    from ....models.style import style_files

    try:
        enabled = ConfigFile(user / "local_api.json", lambda: style_files(user / "styles")).read().enabled
    except ConfigError as error:
        yield Row(BROKEN, LOCAL_API, "settings can't be used", str(error))
        return
    if not enabled:
        yield Row(OK, LOCAL_API, "off")
        return
    try:
        answer = _ask(address_file(user))
        yield from _answered(answer)
    except NotAsked:
        yield Row(OK, LOCAL_API, NOT_ASKED)
    except (KeyError, TypeError, AttributeError, ValueError):
        yield Row(NOTE, LOCAL_API, "on; another version of this pack answers at its address", "Restart ComfyUI.")


def _ask(file: Path) -> Any:
    """What the API says of itself. Raises NotAsked, and ValueError if the answer can't be read."""
    try:
        place = file.read_text(encoding="utf-8")
        # This machine calls itself: no proxy is needed, and a certificate for another name is no reason to stop.
        itself = ssl.create_default_context()
        itself.check_hostname, itself.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=itself))
        with opener.open(place + IN_USE, timeout=TIMEOUT) as answer:
            return json.loads(answer.read(LONGEST_ANSWER))
    except urllib.error.HTTPError as error:
        return json.loads(error.read(LONGEST_ANSWER))
    except (OSError, http.client.HTTPException):
        raise NotAsked from None


def _answered(answer: Any) -> Iterator[Row]:
    if "message" in answer:  # it was asked, and can't say
        yield Row(NOTE, LOCAL_API, f"on; {answer['message']}")
        return
    if answer["reason"]:
        yield Row(BROKEN, LOCAL_API, "can't be on", answer["reason"])
        return
    yield Row(OK, LOCAL_API, f"on, at {answer['address']}")
    for name, flavour in answer["flavours"].items():
        usual = name == answer["default"]
        what, files = FILES.format(name), ", ".join(f"{kind} {file}" for kind, file in flavour["files"].items())
        if not flavour["missing"]:
            yield Row(OK, what, f"{files or 'no files'}{' (if a request names no flavour)' if usual else ''}")
        elif usual:
            yield Row(BROKEN, what, "files are missing, so requests that name no flavour fail", " ".join(flavour["missing"]))
        else:
            yield Row(NOTE, what, f"can't be used yet. {' '.join(flavour['missing'])}")
