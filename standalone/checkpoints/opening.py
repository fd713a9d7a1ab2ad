"""A checkpoint opened: what it is, its networks, and the sampler for the noise that it was trained with."""

from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from safetensors import SafetensorError

from ...errors import FaceGenError
from ...models.checkpoint_kind import FLUX1, SDXL, CheckpointKind, kind_of
from ..memory import is_out_of_memory
from ..sampling.flux import Flux
from ..sampling.stable_diffusion import StableDiffusion

CPU = torch.device("cpu")


def open_checkpoint(path: Path, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> StableDiffusion | Flux:
    """A diffusers folder or a single .safetensors file. Nothing is fetched. FLUX.1, whose numbers are too large for float16,
    is opened in bfloat16 instead.

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
    if kind.base == FLUX1:
        return Flux(kind=kind, **parts)
    # DPM-Solver++ with Karras sigmas.
    scheduler = DPMSolverMultistepScheduler.from_config(parts.pop("noise"), use_karras_sigmas=True)
    return StableDiffusion(kind=kind, scheduler=scheduler, **parts)


def _parts(kind: CheckpointKind, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Its networks are ready to run."""
    parts = _loaded(kind, device, dtype)
    for network in (*parts["text_encoders"], parts["transformer" if kind.base == FLUX1 else "unet"], parts["vae"]):
        network.eval()
    return parts


def _loaded(kind: CheckpointKind, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    if kind.base == FLUX1:
        from .flux_folder import from_flux_folder

        return from_flux_folder(kind.path, device, torch.bfloat16 if dtype == torch.float16 else dtype)
    if kind.path.is_dir():
        from .folder import from_folder

        return from_folder(kind, device, dtype)
    from .single_file import from_single_file

    return from_single_file(kind, device, dtype)
