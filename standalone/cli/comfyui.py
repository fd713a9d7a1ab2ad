"""Which ComfyUI the pack is in: by the name under which it was called, or by the link that ComfyUI has to it."""

import configparser
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ...errors import FaceGenError
from .common import PACK

CUSTOM_NODES = "custom_nodes"


def comfyui_models() -> Path | None:
    """The models folder, there or not, of the ComfyUI that has the pack in its custom_nodes; None where none is found.

    Raises FaceGenError when several have it, and the name under which the pack was called doesn't say which is meant.
    """
    for folder in called_folders():
        if folder.parent.name == CUSTOM_NODES:
            return folder.parent.parent / "models"
    found = list(dict.fromkeys(home.resolve() for home in known_comfyuis() if links_here(home)))
    if len(found) > 1:
        raise FaceGenError(f"Several ComfyUIs have this pack: {', '.join(map(str, found))}. Say which, with --models DIR.")
    return found[0] / "models" if found else None


def called_folders() -> Iterator[Path]:
    """The pack's folder under its names: as the command gave it, as the shell came to it, and where it really lies."""
    here = Path.cwd()
    shell = Path(os.environ.get("PWD", here))  # keeps the links that the user followed
    called = Path(sys.argv[0]) if sys.argv[0] else here
    for start in (shell if shell.is_absolute() and shell.resolve() == here.resolve() else here, here):
        folder = Path(os.path.abspath(start / called))
        folder = folder.parent if folder.name == "__main__.py" else folder
        if folder.resolve() == PACK:
            yield folder
    yield PACK


def known_comfyuis() -> Iterator[Path]:
    """Where a ComfyUI may be: what COMFYUI_PATH names, beside the pack, in the home folder, and where comfy-cli put it."""
    home = Path.home()
    yield from (Path(entry).expanduser() for entry in os.environ.get("COMFYUI_PATH", "").split(os.pathsep) if entry)
    yield from (parent / "ComfyUI" for parent in (PACK.parent, home))
    config = configparser.ConfigParser(interpolation=None)
    for folder in (".config", "Library/Application Support", "AppData/Local"):
        with contextlib.suppress(configparser.Error, UnicodeError):
            config.read(home / folder / "comfy-cli" / "config.ini", encoding="utf-8")
    if workspace := config.defaults().get("default_workspace"):
        yield Path(workspace)
    for parent in (home / "comfy", home / "Documents" / "comfy"):
        yield from sorted(parent.glob("*"))


def links_here(home: Path) -> bool:
    """Whether an entry of its custom_nodes is this pack, or a link to it."""
    try:
        return any(entry.resolve() == PACK for entry in (home / CUSTOM_NODES).iterdir())
    except OSError:
        return False
