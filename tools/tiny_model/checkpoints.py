"""The checkpoints of a training in parts that are small enough to be sent, so that it can go on on another machine.

Weights are rounded to float16, an optimiser's state to bfloat16, which has its range. Drawings aren't among them: the other
machine draws the same people from the seed.
"""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import FaceGenError
from .export.parts import read_parts, sealed, unsealed, write_parts
from .worker import UNFINISHED, save

NAME = "checkpoints"
ROOM = 40 * 2**20  # bytes; more is left out of what is unfinished, as the model has to be sent, too


def pack(work: Path, results: Path) -> None:
    """Every checkpoint in `work` to `results`/checkpoints.0, .1 and so on.

    If they need more than ROOM, an unfinished stage goes without its optimiser and running mean, which then begin anew.
    """
    known: dict[bytes, Tensor] = {}

    def rounded(tensor: Tensor, weights: bool) -> Tensor:
        small = _rounded(tensor, weights)
        return known.setdefault(_print_of(small), small)  # stages share what they don't train

    paths = sorted(work.glob("*.pt"))
    contents = {path.name: _each(torch.load(path, weights_only=True, map_location="cpu"), rounded) for path in paths}
    packed = _saved(contents)
    if len(packed) > ROOM:
        for name, content in contents.items():
            if name.endswith(UNFINISHED):
                contents[name] = {key: content[key] for key in ("step", "far", "module")}
        packed = _saved(contents)
    write_parts(results, NAME, sealed(packed))


def unpack(carried: Path, work: Path) -> list[str]:
    """What `pack` wrote to `carried` back to `work`; returns the files' names. A `work` that holds checkpoints is left alone.

    Raises FaceGenError when a part lacks, or is one of other checkpoints.
    """
    if any(work.glob("*.pt")):
        return []
    content = read_parts(carried, NAME)
    try:
        packed = unsealed(content)
    except ValueError as error:
        raise FaceGenError(
            f"The checkpoints in {carried} are cut off or mixed: {NAME}.0 and so on have to be all that one run left."
        ) from error
    contents = torch.load(io.BytesIO(packed), weights_only=True)
    for name, content in contents.items():
        save(_each(content, _whole), work / Path(name).name)
    return list(contents)


def _saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _print_of(tensor: Tensor) -> bytes:
    """Equal tensors alone have the same."""
    values = tensor.contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(f"{tensor.dtype} {tensor.shape} {tensor.stride()}".encode() + values.tobytes()).digest()


def _each(content: Any, change: Callable[[Tensor, bool], Tensor], weights: bool = True) -> Any:
    """The same with other tensors; `change` is told whether one is of weights, not of an optimiser."""
    if isinstance(content, Tensor):
        return change(content, weights)
    if isinstance(content, dict):
        return {key: _each(value, change, weights and key != "optimizer") for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_each(value, change, weights) for value in content)
    return content


def _rounded(tensor: Tensor, weights: bool) -> Tensor:
    """A single number stays as it is: a count of steps has to be exact."""
    if tensor.dtype != torch.float32 or tensor.ndim == 0:
        return tensor
    rounded = tensor.to(torch.float16 if weights else torch.bfloat16)
    return rounded if torch.equal(rounded.isfinite(), tensor.isfinite()) else tensor


def _whole(tensor: Tensor, _: bool) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
