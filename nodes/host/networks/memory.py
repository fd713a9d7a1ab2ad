"""Networks of ours under ComfyUI's memory management."""

from collections.abc import Callable

import comfy.model_management
import comfy.model_patcher
import torch


def place(network: torch.nn.Module) -> Callable[[], torch.device]:
    """A models.networks.Place: the network is loaded onto ComfyUI's device before each use, and ComfyUI may unload it after."""
    patcher = comfy.model_patcher.ModelPatcher(
        network,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )

    def ready() -> torch.device:
        # Its layers are torch's own, which ComfyUI can't load in part.
        comfy.model_management.load_models_gpu([patcher], force_full_load=True)
        device: torch.device = patcher.load_device
        return device

    return ready
