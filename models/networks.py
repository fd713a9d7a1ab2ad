"""Where a network of ours lies: who runs the engine may take charge of it."""

from collections.abc import Callable

import torch
from torch import nn

# Takes charge of where a network lies; what it returns is called before each use and gives the device to compute on.
Place = Callable[[nn.Module], Callable[[], torch.device]]


def stay(network: nn.Module) -> Callable[[], torch.device]:
    """The `Place` of a network that is left where it is."""
    return lambda: next(network.parameters()).device
