"""What `serve` is told of ComfyUIs that make its pictures: where they are, and the tokens of what stands before them."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...api.local.config import ConfigFile
from ...api.local.flavours import TINY
from ...errors import FaceGenError, printable
from .common import libraries

if TYPE_CHECKING:
    from ..comfyuis.backend import ComfyUIs

COMFYUI_TOKEN = "FACEGEN_COMFYUI_TOKEN"
WRONG = (
    "--comfyui {} is no address of a ComfyUI. It must be like http://10.0.0.5:8188: without a name and password, and without "
    "what follows a ? or #. Tokens belong into comfyui_tokens of local_api.json, or into {}."
)


def add_comfyui_arguments(parser: argparse.ArgumentParser) -> None:
    """The option; docs/scale.md has the whole."""
    group = parser.add_argument_group("on existing ComfyUIs", "docs/scale.md describes it.")
    group.add_argument(
        "--comfyui",
        metavar="URL",
        action="append",
        default=[],
        help="Let this ComfyUI make the pictures; once for each of several. They need this pack and the model files, and are "
        f"left as they are. Tokens belong into comfyui_tokens of the settings, or into {COMFYUI_TOKEN} if all have the same.",
    )


def comfyuis(options: argparse.Namespace, settings: ConfigFile, folder: Path) -> "ComfyUIs":
    """The backend that spreads requests over the ComfyUIs; `folder` is that of the settings. Raises FaceGenError."""
    if options.ray is not None or options.models != TINY:
        other = "--models" if options.ray is None else "--ray"
        raise FaceGenError(f"With --comfyui, ComfyUI makes the pictures with its own model files. Leave {other} away.")
    with libraries():
        from ..comfyuis.backend import ComfyUIs
    urls = [_address(url) for url in options.comfyui]
    if twice := {url for url in urls if urls.count(url) > 1}:
        raise FaceGenError(f"--comfyui names {', '.join(sorted(twice))} more than once. Give each ComfyUI once.")
    tokens = {url.rstrip("/"): token.strip() for url, token in settings.read().comfyui_tokens.items()}
    usual = os.environ.get(COMFYUI_TOKEN, "").strip()
    return ComfyUIs({url: tokens.get(url, usual) for url in urls}, folder / "workflows")


def _address(given: str) -> str:
    """Of a ComfyUI, without a slash at its end. Raises FaceGenError, which repeats nothing that may be a secret."""
    try:
        url = urlsplit(given)
        is_plain = not ("@" in url.netloc or url.query or url.fragment)
        is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_plain, is_address = "@" not in given, False
    if not (is_plain and is_address):
        raise FaceGenError(WRONG.format(printable(repr(given)) if is_plain else "(not shown here)", COMFYUI_TOKEN))
    return given.rstrip("/")
