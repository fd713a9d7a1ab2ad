"""The checkpoints of a training in parts that are small enough to be sent, so that it can go on on another machine.

Weights are rounded to float16, an optimiser's state to bfloat16, which has its range. Drawings aren't among them: the other
machine draws the same people from the seed.
"""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import FaceGenError
from .export.parts import read_parts, sealed, unsealed, write_parts
from .worker import save

NAME = "checkpoints.tar"


def pack(work: Path, results: Path) -> None:
    """Every checkpoint in `work` to `results`/checkpoints.tar.0, .1 and so on."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(work.glob("*.pt")):
            rounded = io.BytesIO()
            torch.save(_each(torch.load(path, weights_only=True, map_location="cpu"), _rounded), rounded)
            entry = tarfile.TarInfo(path.name)
            entry.size = rounded.tell()
            rounded.seek(0)
            tar.addfile(entry, rounded)
    write_parts(results, NAME, sealed(archive.getvalue()))


def unpack(carried: Path, work: Path) -> list[str]:
    """What `pack` wrote to `carried` back to `work`; returns the files' names. A `work` that holds checkpoints is left alone.

    Raises FaceGenError when a part lacks, or is one of other checkpoints.
    """
    if any(work.glob("*.pt")):
        return []
    content = read_parts(carried, NAME)
    try:
        archive = unsealed(content)
    except ValueError as error:
        raise FaceGenError(
            f"The checkpoints in {carried} are cut off or mixed: {NAME}.0 and so on have to be all that one run left."
        ) from error
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for name in tar.getnames():
            file = tar.extractfile(name)
            assert file is not None  # pack puts files in, and nothing else
            save(_each(torch.load(io.BytesIO(file.read()), weights_only=True), _whole), work / Path(name).name)
        return tar.getnames()


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
