"""A network of diffusers from tensors in memory and a configuration of our own."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

Tensors = Mapping[str, Tensor]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All of a .safetensors file, mapped: what isn't used is never read."""
    with safe_open(path, framework="pt", device="cpu") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}


def build(cls: Any, tensors: Tensors, config: dict[str, Any]) -> Any:
    """A network of diffusers' class `cls`, in the numbers of the tensors. diffusers reads the configuration from a folder, so
    one is made for that. Raises ValueError when the tensors aren't all that the network has."""
    lacking = ValueError(f"it doesn't hold all tensors of the {cls.__name__}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps({"_class_name": cls.__name__, **config}), encoding="utf-8")
        try:
            network = cls.from_single_file(dict(tensors), config=folder, local_files_only=True)
        except NotImplementedError as error:  # what isn't there can't be moved
            raise lacking from error
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        raise lacking
    return network
