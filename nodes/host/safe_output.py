"""What a sampler node does so that unsafe pictures never leave it: not as pictures, latents or previews."""

from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...models.safety.checking import SafetyChecker
from ...models.safety.filter import filter_images
from .reports import cancellable


def without_previews(model: Any) -> Any:
    """The model, with pictures of its sampling kept from the callback, which shows them: progress goes on, and previews
    are blank. Changes the given clone."""

    def outer_sample(
        executor: Any,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        def blank(step: int, x0: Tensor, x: Tensor, total_steps: int) -> None:
            callback(step, torch.zeros_like(x0), torch.zeros_like(x), total_steps)

        shown = None if callback is None else blank
        return executor(noise, latent_image, sampler, sigmas, denoise_mask, shown, *rest, **more)

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "facegen.no_previews", outer_sample)
    return model


def hide_unsafe(
    images: Tensor, latent: dict[str, Any], checker: SafetyChecker, safety_checker_type: str
) -> tuple[Tensor, dict[str, Any]]:
    """(images, latent) with unsafe pictures redacted whole, and their latents, which show the same, made zero."""
    filtered = filter_images(images, checker, safety_checker_type, watch=cancellable)
    if not any(filtered.flagged):
        return filtered.images, latent
    samples = latent["samples"].clone()
    samples[torch.tensor(filtered.flagged, device=samples.device)] = 0
    return filtered.images, {**latent, "samples": samples}
