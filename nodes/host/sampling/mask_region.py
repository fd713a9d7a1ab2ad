"""Where in the picture a face acts."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ....errors import FaceGenError
from ..reports import warn
from .rows import Chunks, Crop
from .windows import Lines

KEPT_SIZES = 64  # a sampling has a few for each kind of block; windows that move in each step would have ever more


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
        key = (*grid, call.latents, call.crops, call.lines, like.dtype, like.device)
        sized = self._sized.get(key)
        if sized is None:
            sized = self._resized((grid[0], grid[1]), call, like)
            if len(self._sized) >= KEPT_SIZES:
                self._sized.clear()
            self._sized[key] = sized
        if call.tiled and not self._warned:
            self._warned = True
            warn("the mask of a face is stretched over each tile, as the tiled sampler doesn't tell where a tile lies.")
        return sized

    @torch.compiler.disable  # what is kept must not lie in the memory of a compiled or captured graph
    def _resized(self, grid: tuple[int, int], call: Chunks, like: Tensor) -> Tensor:
        mask = self._seen(call.lines)
        # "area" keeps a white mask exactly 1 and honours feathered edges.
        sized = {
            crop: F.interpolate(_cropped(mask, crop), size=grid, mode="area").flatten(2).transpose(1, 2)
            for crop in set(call.crops)
        }
        if len(mask) == 1 and len(sized) == 1:
            return sized[call.crops[0]].to(like)  # one for the whole batch
        size = len(call.latents) // len(call.crops)
        of_rows = [(sized[call.crops[row // size]], number) for row, number in enumerate(call.latents)]
        return torch.stack([t[number % len(t)] for t, number in of_rows]).to(like)

    def _seen(self, lines: Lines | None) -> Tensor:
        """The mask [b, 1, H, W] as a context window over height or width sees it, which may hold any lines in any order."""
        if lines is None:
            return self.mask
        size = [*self.mask.shape[-2:]]
        size[lines.axis] = lines.total
        whole = F.interpolate(self.mask, size=size, mode="area")
        return whole.index_select(lines.axis, torch.tensor(lines.numbers))

    def forget(self, device: torch.device) -> None:
        """Back on the mask's own device, drop what was resized, which lies on the one that it was made for."""
        if device == self.mask.device:
            self._sized.clear()


def _cropped(mask: Tensor, crop: Crop | None) -> Tensor:
    if crop is None:
        return mask
    height, width = mask.shape[-2:]
    y0, y1, x0, x1 = (round(share * side) for share, side in zip(crop, (height, height, width, width), strict=True))
    return mask[..., y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
