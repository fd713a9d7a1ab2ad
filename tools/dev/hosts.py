"""Finding ComfyUI."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from .common import ROOT, DevError


def is_comfyui(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "comfy").is_dir() and (path / "comfyui_version.py").is_file()


def comfyui_version(comfyui: Path) -> str:
    found = re.search(r'__version__ = "([\w.+-]+)"', (comfyui / "comfyui_version.py").read_text(encoding="utf-8"))
    return found[1] if found else "unknown"


def version_numbers(version: str) -> tuple[int, ...]:
    """For comparing versions; () for an unknown one, which counts as older than any."""
    return tuple(map(int, re.findall(r"\d+", version)))


def find_comfyui() -> list[Path]:
    """The checkouts that COMFYUI_PATH names, else the one this pack lies in, else those that comfy-cli made."""
    named = [Path(entry).expanduser() for entry in os.environ.get("COMFYUI_PATH", "").split(os.pathsep) if entry]
    for path in named:
        if not is_comfyui(path):
            raise DevError(f"COMFYUI_PATH: {path} is no ComfyUI (it lacks main.py, comfy/ or comfyui_version.py).")
    return unique(named) or unique(filter(is_comfyui, around_pack())) or unique(filter(is_comfyui, from_comfy_cli()))


def around_pack() -> Iterator[Path]:
    """The parent of each custom_nodes folder that this pack lies in: by its real path or through links."""
    here = Path(os.path.abspath(__file__)).parents[2]
    shell = Path(os.environ.get("PWD", here))  # keeps the links that the user followed
    for folder in (here, shell if shell.resolve() == ROOT else here, ROOT):
        if folder.parent.name == "custom_nodes":
            yield folder.parent.parent


def from_comfy_cli() -> Iterator[Path]:
    """comfy-cli's configured workspace, then its default one and whatever lies beside that."""
    home = Path.home()
    config = configparser.ConfigParser(interpolation=None)
    for folder in (".config", "Library/Application Support", "AppData/Local"):
        with contextlib.suppress(configparser.Error, UnicodeError):
            config.read(home / folder / "comfy-cli" / "config.ini", encoding="utf-8")
    if workspace := config.defaults().get("default_workspace"):
        yield Path(workspace)
    for parent in (home / "comfy", home / "Documents" / "comfy"):
        yield from sorted(parent.glob("*"))


def unique(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(path.resolve() for path in paths))


def has_pack(comfyui: Path) -> bool:
    return any(entry.resolve() == ROOT for entry in (comfyui / "custom_nodes").glob("*"))
