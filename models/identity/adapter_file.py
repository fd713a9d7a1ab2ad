"""Adapter files, read lazily: names first, tensors when they are asked for."""

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import UnreadableFileError

Read = Callable[[str], Tensor]
LONGEST_NAME = 1000  # characters of a tensor's flat name
Shape = Callable[[str], tuple[int, ...]]
IsFloating = Callable[[str], bool]
Opened = tuple[list[str], Read, Shape, IsFloating]  # names; what gives a tensor, its shape, and whether it has such numbers


class AdapterFile(Mapping[str, Tensor]):
    """The tensors of an adapter file by flat name ("image_proj.proj.0.weight"); a tensor is read when it is looked up, and
    `shape(name)` gives its shape without that, and `is_floating(name)` whether it holds floating-point numbers.

    Takes .safetensors, and PyTorch's .bin, .pt and .pth. The latter are pickles and are opened with `weights_only`, so
    nothing in them is executed. `metadata` holds what a .safetensors file says of itself. Raises UnreadableFileError for
    anything that isn't a readable file of tensors.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.metadata: dict[str, str] = {}
        if not self.path.is_file():
            raise UnreadableFileError(f"There is no adapter file {self.path}.")
        if self.path.stat().st_size == 0:
            raise UnreadableFileError(f"{self.path} is empty (0 bytes); a whole copy is needed.")
        open_file = self._open_safetensors if self.path.suffix.lower() == ".safetensors" else self._open_pickle
        names, self._read, self.shape, self.is_floating = open_file()
        self._names = dict.fromkeys(names)

    def _open_safetensors(self) -> Opened:
        try:
            handle: Any = safe_open(self.path, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise self._unreadable(error) from error
        self.metadata = handle.metadata() or {}

        def shape(name: str) -> tuple[int, ...]:
            return tuple(handle.get_slice(name).get_shape())

        def is_floating(name: str) -> bool:
            return str(handle.get_slice(name).get_dtype()).startswith(("F", "BF"))

        return list(handle.keys()), handle.get_tensor, shape, is_floating

    def _open_pickle(self) -> Opened:
        try:
            # Only the zip form can be memory-mapped; files from before PyTorch 1.6 are read whole.
            state = torch.load(self.path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(self.path))
            tensors = dict(_flatten(state))
        except pickle.UnpicklingError as error:
            raise UnreadableFileError(
                f"{self.path} was refused: it is not a plain file of tensors ({_first_line(error)}). Nothing in it was "
                "run. The published file or its .safetensors form is needed."
            ) from error
        except Exception as error:  # a damaged pickle can fail in any way
            raise self._unreadable(error) from error

        def shape(name: str) -> tuple[int, ...]:
            return tuple(tensors[name].shape)

        def is_floating(name: str) -> bool:
            return tensors[name].is_floating_point()

        return list(tensors), tensors.__getitem__, shape, is_floating

    def _unreadable(self, error: Exception) -> UnreadableFileError:
        return UnreadableFileError(
            f"{self.path} ({self.path.stat().st_size} bytes) can't be read: {_first_line(error)}. "
            "It is probably cut short or not a model file; a whole copy is needed."
        )

    def require_finite(self, made: Iterable[Tensor]) -> None:
        """Raises UnreadableFileError when what was made of its tensors holds NaN or infinite values: black pictures."""
        if not all(map(_is_finite, made)):
            raise UnreadableFileError(
                f"{self.path} holds NaN or infinite values, so it was damaged or badly converted; a whole copy is needed."
            )

    def sha256(self) -> str:
        """Of the whole file, in hexadecimal."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # Mapping's own would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _flatten(state: object) -> Iterator[tuple[str, Tensor]]:
    """Published .bin files nest their tensors as {"image_proj": {…}, "ip_adapter": {…}}.

    Raises ValueError for what only a file made to do harm holds: a dictionary that is in several places, which unfolds without
    end, and a tensor of more numbers than the file has.
    """
    met: set[int] = set()
    waiting: list[tuple[str, object]] = [("", state)]
    while waiting:
        prefix, held = waiting.pop()
        if not isinstance(held, Mapping):
            continue
        if id(held) in met or len(prefix) > LONGEST_NAME:
            raise ValueError(f"its parts are nested in each other at {prefix.rstrip('.')[:40]}")
        met.add(id(held))
        for name, value in held.items():
            if not isinstance(value, Tensor):
                waiting.append((f"{prefix}{name}.", value))
            elif value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"{prefix}{name} has more numbers than there are")
            else:
                yield f"{prefix}{name}", value


def _is_finite(t: Tensor) -> bool:
    total = t.float().sum() if t.dtype.itemsize == 1 else t.sum(dtype=torch.float32)  # much faster than to look at each
    return bool(total.isfinite()) or bool(t.float().isfinite().all())


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
