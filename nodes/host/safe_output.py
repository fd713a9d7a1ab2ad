"""What a sampler node does so that unsafe pictures never leave it: not as pictures, latents or previews."""

import torch
from comfy.patcher_extension import WrappersMP

from ...errors import advise
from ...models.safety.filter import filter_images
from .cures import CHECKER, PICTURES


def without_previews(model):
    """The model, with pictures of its sampling kept from the callback, which shows them: progress goes on, and previews
    are blank. Changes the given clone."""

    def outer_sample(executor, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, *rest, **more):
        def blank(step, x0, x, total_steps):
            callback(step, torch.zeros_like(x0), torch.zeros_like(x), total_steps)

        shown = None if callback is None else blank
        return executor(noise, latent_image, sampler, sigmas, denoise_mask, shown, *rest, **more)

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "facegen.no_previews", outer_sample)
    return model


@advise("Face Portrait Sampler", {**PICTURES, **CHECKER})
def hide_unsafe(images, latent, checker, action):
    """(images, latent) with unsafe pictures redacted whole, and their latents, which show the same, made zero."""
    filtered = filter_images(images, checker, action)
    if not any(filtered.flagged):
        return filtered.images, latent
    samples = latent["samples"].clone()
    samples[torch.tensor(filtered.flagged, device=samples.device)] = 0
    return filtered.images, {**latent, "samples": samples}
