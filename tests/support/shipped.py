"""The archive that comfy-cli uploads to the registry: the repository's files less .comfyignore, by comfy-cli's own rule.

What is new and not yet in git counts as well, as long as .gitignore doesn't name it.
"""

import os
import shutil
from pathlib import Path

import pathspec

from pack import ROOT


def _spec(file: str, *more: str) -> pathspec.GitIgnoreSpec:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return pathspec.GitIgnoreSpec.from_lines([*(line.strip() for line in lines if line.strip()), *more])


def repository_files() -> list[str]:
    """Paths below the pack's root, with forward slashes."""
    ignored, found = _spec(".gitignore", "/.git"), []
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not ignored.match_file(f"{(here / name).as_posix()}/")]
        found += [(here / name).as_posix() for name in files]
    return sorted(name for name in found if not ignored.match_file(name))


def shipped_files() -> list[str]:
    ignored = _spec(".comfyignore")
    return [name for name in repository_files() if not ignored.match_file(name)]


def unpack(folder: Path) -> Path:
    """The archive's files in a new folder, as Manager leaves them in custom_nodes."""
    for name in shipped_files():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place)
    return folder
