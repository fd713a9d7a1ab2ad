"""A checkpoint opened: what it is, its networks, and the sampler for the noise that it was trained with."""

from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from safetensors import SafetensorError

from ...errors import FaceGenError
from ...models.checkpoint_kind import SDXL, CheckpointKind, kind_of
from ..memory import is_out_of_memory
from ..stable_diffusion import StableDiffusion

CPU = torch.device("cpu")


def open_checkpoint(path: Path, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> StableDiffusion:
    """A diffusers folder or a single .safetensors file. Nothing is fetched.

    Raises UnreadableFileError, UnsupportedCheckpointError when it is of another base, and FaceGenError when it can't be
    loaded; an error about memory as it is.
    """
    kind = kind_of(path)
    kind.require_supported()
    try:
        parts = _parts(kind, device, dtype)
    except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise FaceGenError(f"{path} could not be loaded as a checkpoint of {kind.base}: {error}") from error
    if kind.base == SDXL and dtype == torch.float16 and parts["vae"].config.force_upcast:
        parts["vae"].float()  # it overflows in half precision
    for network in (*parts["text_encoders"], parts["unet"], parts["vae"]):
        network.eval()
    # DPM-Solver++ with Karras sigmas.
    scheduler = DPMSolverMultistepScheduler.from_config(parts.pop("noise"), use_karras_sigmas=True)
    return StableDiffusion(kind=kind, scheduler=scheduler, **parts)


def _parts(kind: CheckpointKind, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    if kind.path.is_dir():
        from .folder import from_folder

        return from_folder(kind, device, dtype)
    from .single_file import from_single_file

    return from_single_file(kind, device, dtype)
