"""Where in the picture a face acts."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import FaceGenError
from .conditionings import Chunks, Crop
from .reports import warn


class Region:
    """A mask [H, W] or [B, H, W] (0-1), cut and resized to each block's grid of tokens once."""

    def __init__(self, mask: Tensor):
        self.mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()
        self._sized: dict[tuple[object, ...], Tensor] = {}
        self._warned = False

    @classmethod
    def of(cls, mask: Tensor | None) -> "Region | None":
        """None for no mask, or one that is white all over. Raises FaceGenError for anything that is no mask."""
        if mask is None:
            return None
        if mask.ndim not in (2, 3) or not mask.numel():
            raise FaceGenError(
                f"mask must be [H, W] or [batch, H, W] and not empty, got {list(mask.shape)}. Connect a MASK, "
                "such as Load Image or Convert Image to Mask gives."
            )
        if not torch.isfinite(mask).all():
            raise FaceGenError("mask holds NaN or infinite values. Check the node that is connected to `mask`.")
        return None if bool((mask == 1).all()) else cls(mask)

    @property
    def is_empty(self) -> bool:
        """Whether it is black all over."""
        return not self.mask.any()

    def weights(self, like: Tensor, grid: tuple[int, int], call: Chunks) -> Tensor:
        """[batch or 1, height * width, 1] in the dtype and on the device of `like` [batch, height * width, channels].

        grid: height and width in tokens. call: the chunks of this UNet call.
        """
        key = (*grid, len(like), call, like.dtype, like.device)
        if key not in self._sized:
            if call.tiled and not self._warned:
                self._warned = True
                warn("the mask of a face is stretched over each tile, as the tiled sampler doesn't tell where a tile lies.")
            self._sized[key] = self._resized((grid[0], grid[1]), call, len(like) // len(call.sides)).to(like)
        return self._sized[key]

    def _resized(self, grid: tuple[int, int], call: Chunks, per_chunk: int) -> Tensor:
        crops, numbers = call.crops, call.latents or tuple(range(per_chunk))
        if len(self.mask) == 1 and not any(crops):
            crops, numbers = crops[:1], (0,)  # one for the whole batch
        # "area" keeps a white mask exactly 1 and honours feathered edges.
        sized = [F.interpolate(self._cropped(crop), size=grid, mode="area").flatten(2).transpose(1, 2) for crop in crops]
        return torch.cat([t[[number % len(t) for number in numbers]] for t in sized])

    def _cropped(self, crop: Crop | None) -> Tensor:
        if crop is None:
            return self.mask
        height, width = self.mask.shape[-2:]
        y0, y1, x0, x1 = (round(share * side) for share, side in zip(crop, (height, height, width, width), strict=True))
        return self.mask[..., y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]

    def forget(self) -> None:
        """Drop what was resized, which lies on the device it was made for."""
        self._sized.clear()
