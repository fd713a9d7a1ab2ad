"""A bounded memory of what has been computed from a picture, keyed by its pixels. In memory only; gone with the process."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
PixelKey = tuple[int | bytes, ...]


class Cache:
    """The results used last, at most `size` of them. May be used by several threads at once."""

    def __init__(self, size: int):
        self.size = size
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What is known under `key`, or what `compute` gives, which is then remembered."""
        value: T | None = self.peek(key)
        if value is None:
            value = compute()
            self.put(key, value)
        return value

    def peek(self, key: Hashable) -> Any:
        """What is known under `key`, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key]

    def put(self, key: Hashable, value: object) -> None:
        """Remember a value that is not None, and forget the one used longest ago if there are too many."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


def pixel_key(pixels: np.ndarray) -> PixelKey:
    """Tells pictures apart by shape and content; a cryptographic hash, so two pictures never share one by accident."""
    return (*pixels.shape, hashlib.sha256(np.ascontiguousarray(pixels).data).digest())
