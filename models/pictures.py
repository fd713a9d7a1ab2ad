"""What a batch of pictures has to be before anything is computed from it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..errors import AlphaChannelError, BadPicturesError, NoPicturesError, NotFiniteError, OneChannelError

# What whoever waits for work on many pictures hands over: called between pictures with how many are done, of how many. What it
# raises ends the work.
Watch = Callable[[int, int], None]


def unwatched(_done: int, _of: int) -> None:
    """The Watch of nobody."""


def watched(images: Tensor, watch: Watch) -> Iterator[tuple[int, Tensor]]:
    """The pictures of a batch, numbered, with `watch` called before each and after the last."""
    for number, picture in enumerate(images):
        watch(number, len(images))
        yield number, picture
    watch(len(images), len(images))


def require_rgb(images: Tensor) -> None:
    """Check that `images` is a float tensor [B, H, W, 3] without NaN or infinity, B, H and W at least 1.

    Raises BadPicturesError, or the kind of it that tells what is there instead.
    """
    if not isinstance(images, Tensor):
        raise BadPicturesError(f"A float tensor [batch, height, width, 3] is needed, not {type(images).__name__}.")
    shape = list(images.shape)
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise _of_another_shape(shape)
    if not images.is_floating_point():
        raise BadPicturesError(
            f"Float pictures from 0 to 1 are needed, not {images.dtype} {shape}: divide 8-bit values by 255."
        )
    if not all(torch.isfinite(end) for end in torch.aminmax(images)):  # NaN spreads to both ends; one pass
        raise NotFiniteError(
            f"The pictures {shape} hold NaN or infinity. A VAE or sampler makes these when half precision is not enough."
        )


def batches(images: Tensor, most: int) -> Iterator[Tensor]:
    """The batch in parts of at most `most` pictures, in order."""
    for start in range(0, len(images), most):
        yield images[start : start + most]


def _of_another_shape(shape: list[int]) -> BadPicturesError:
    needed = f"RGB pictures [batch, height, width, 3] are needed, not {shape}."
    if 0 in shape:
        return NoPicturesError(f"{needed} It is empty.")
    if len(shape) == 3:
        return OneChannelError(f"{needed} It looks like a mask.")
    if shape[-1] == 1:
        return OneChannelError(f"{needed} It has one channel.")
    if shape[-1] == 4:
        return AlphaChannelError(f"{needed} The fourth channel is alpha.")
    return BadPicturesError(needed)
