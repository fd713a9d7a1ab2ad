"""Files wherever fsspec reaches, such as s3://bucket/folder. A file is put in one request, so it is there whole or not at all.

Each kind of file has a folder of its own, so that the few that are looked through needn't be sought among all results.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from ....errors import MissingLibraryError
from ..config_values import ConfigError

T = TypeVar("T")
FOLDERS = {"upload": "uploads", "face": "faces"}  # part of a name -> folder; all others are results
RESULTS = "results"
TIMES = ("LastModified", "mtime", "last_modified", "created")  # what file systems call it


class Remote:
    """A Storage, see storage.py. Methods also raise OSError for whatever the library raises."""

    is_near = False

    def __init__(self, url: str):
        """Raises MissingLibraryError, ConfigError for a URL that no file system is known for, OSError where it can't be
        reached."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise _missing(error) from error
        try:
            self._files, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise _missing(error) from error
        except ValueError as error:  # an unknown scheme
            raise ConfigError(f"Results can't be kept at {url.partition('://')[0]}://…: {error}.") from error
        self._root = root.rstrip("/")
        _reached(self._files.exists)(self._root)

    def put(self, name: str, data: bytes) -> bool:
        try:
            _reached(self._files.pipe_file)(self._key(name), data, mode="create")
        except FileExistsError:
            return False
        return True

    def get(self, name: str) -> bytes:
        return bytes(_reached(self._files.cat_file)(self._key(name)))

    def path(self, name: str) -> Path | None:
        return None

    def are_there(self, names: Iterable[str]) -> bool:
        return all(_reached(self._files.exists)(self._key(name)) for name in names)

    def delete(self, names: Iterable[str]) -> None:
        self._delete([self._key(name) for name in names])

    def sizes(self, part: str) -> list[int]:
        return [int(entry["size"] or 0) for entry in self._all(FOLDERS[part])]

    def delete_older_than(self, moment: float) -> None:
        """Uploads and photos. Results go with their rows; what a killed process left of them is for the bucket's own rules."""
        for folder in FOLDERS.values():
            for entry in self._all(folder):
                if _seconds(next((entry[name] for name in TIMES if entry.get(name) is not None), moment)) < moment:
                    self._delete([entry["name"]])

    def _delete(self, keys: list[str]) -> None:
        try:
            _reached(self._files.rm)(keys)  # many in one request, where the place has such
        except OSError:  # as where one of them is not there
            for key in keys:
                with contextlib.suppress(OSError):
                    _reached(self._files.rm_file)(key)

    def _all(self, folder: str) -> list[dict[str, Any]]:
        try:
            found = _reached(self._files.ls)(f"{self._root}/{folder}", detail=True)
        except FileNotFoundError:
            return []
        return [entry for entry in found if entry["type"] == "file"]

    def _key(self, name: str) -> str:
        part = name.partition("-")[2].partition(".")[0]
        return f"{self._root}/{FOLDERS.get(part, RESULTS)}/{name}"


def _seconds(time: Any) -> float:
    """A file system's time of a file, in seconds since the epoch."""
    return float(time.timestamp() if hasattr(time, "timestamp") else time)


def _missing(error: ImportError) -> MissingLibraryError:
    return MissingLibraryError(
        f"Results in a place of that kind need a library that can't be imported: {error}.",
        "pip install -r requirements-scale.txt",
    )


def _reached(call: Callable[..., T]) -> Callable[..., T]:
    """`call`, whose errors are OSErrors: libraries of file systems let some of their own through."""

    @functools.wraps(call)
    def checked(*args: Any, **options: Any) -> T:
        try:
            return call(*args, **options)
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    return checked
