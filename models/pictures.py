"""What a batch of pictures has to be before anything is computed from it."""

import torch
from torch import Tensor

from ..errors import FaceGenError

_REMEDY = {
    4: "The fourth channel is alpha: put a Split Image with Alpha node in between.",
    1: "For one channel, use Convert Image to Mask (channel red) and then Convert Mask to Image, which gives RGB.",
}


def require_rgb(images: Tensor, who: str) -> None:
    """Check that `images` is a float tensor [B, H, W, 3] without NaN or infinity, B, H and W at least 1.

    `who` is the node or command that the message names. Raises FaceGenError.
    """
    if not isinstance(images, Tensor):
        raise FaceGenError(f"{who} needs a float tensor [batch, height, width, 3], not {type(images).__name__}.")
    shape = list(images.shape)
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise FaceGenError(f"{who} needs RGB pictures [batch, height, width, 3], not {shape}. {_remedy(shape)}")
    if not images.is_floating_point():
        raise FaceGenError(f"{who} needs float pictures from 0 to 1, not {images.dtype} {shape}. Divide by 255.")
    if not all(torch.isfinite(end) for end in torch.aminmax(images)):  # NaN spreads to both ends; one pass
        raise FaceGenError(
            f"{who} was given pictures {shape} that hold NaN or infinity. The VAE or the sampler makes these when half "
            "precision is not enough: use another VAE, or start ComfyUI with --fp32-vae."
        )


def _remedy(shape: list[int]) -> str:
    if 0 in shape:
        return "It is empty: check the node that made it."
    if len(shape) == 3:
        return "If it is a mask, put a Convert Mask to Image node in between."
    return _REMEDY.get(shape[-1], "Connect an IMAGE such as Load Image gives.")
