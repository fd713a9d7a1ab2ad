"""What a row's photos and combinations are called in pictures, index and errors."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

LONGEST = 10_000  # characters of a prompt that is told: what the API takes


def is_remote(source: str) -> bool:
    """Whether a face is a URL or a data URI, and no file."""
    return "://" in source[:20] or source[:5].lower() == "data:"


def shown(source: str, folder: Path) -> str:
    """A photo as pictures and index, which are given on, may tell of it: a URL without what may be secret in it, a file's path
    from the requests' folder. Of one that the row has by its whole path, and that isn't in that folder, the name alone."""
    if source[:5].lower() == "data:":
        return "data:"
    if is_remote(source):
        scheme, _, rest = source.partition("?")[0].partition("#")[0].partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return _path_from(source, folder) or Path(source).name


def _path_from(source: str, folder: Path) -> str:
    """Empty where it would tell where on this machine a photo is: from the root, up to it and down again, or from elsewhere."""
    try:
        base, path = os.path.abspath(folder), os.path.abspath(folder / source)
        both = os.path.commonpath([base, path])
        is_whole, is_outside, is_from_root = PurePath(source).anchor, both != base, both == PurePath(both).anchor
        if (is_whole and (is_outside or is_from_root)) or (is_outside and is_from_root):
            return ""
        return PurePath(os.path.relpath(path, base)).as_posix()
    except ValueError:  # on another drive
        return ""


def combination(values: Mapping[str, Any], several: Iterable[str], folder: Path) -> dict[str, str | None]:
    """Which of several values a piece has, so that a line of the errors can tell."""
    return {name: _told(name, values.get(name), folder) for name in several}


def _told(name: str, value: Any, folder: Path) -> str | None:
    if value is None:
        return None
    if isinstance(value, (list, dict)):  # not shown: it may be nested too deeply to be written
        return "a list or an object"
    text = str(value)
    if name == "face_image":
        return shown(text.strip(), folder)
    return text if len(text) <= LONGEST else f"{text[:100]}… ({len(text)} characters)"
