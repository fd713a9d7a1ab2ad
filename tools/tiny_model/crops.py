"""Batches of pictures on whatever device they are: faces turned upright, and pictures as a generator might have drawn them.

All chance here is torch's own, which training seeds for each step.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Where ArcFace has eyes, nose and mouth in its 112 pixels, as InsightFace's estimate_norm does
# (https://github.com/deepinsight/insightface, python-package/insightface/utils/face_align.py).
ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


@cache  # a copy from the host can't be part of a recorded step
def _constant(values: tuple, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


def alignment(points: Tensor, side: int) -> Tensor:
    """The similarity [n, 2, 3] from pixels of pictures to those of aligned faces that fits the points [n, 5, 2] best; side is
    112 or 224."""
    wanted = _constant(ARCFACE, points.device) * (side / 112)
    middle, to = points.mean(dim=1), wanted.mean(dim=0)
    (x, y), (u, v) = (points - middle[:, None]).unbind(-1), (wanted - to).unbind(-1)
    size = (x * x + y * y).sum(dim=1)
    a, b = (x * u + y * v).sum(dim=1) / size, (x * v - y * u).sum(dim=1) / size  # a + ib turns and scales
    turned = torch.stack([a * middle[:, 0] - b * middle[:, 1], b * middle[:, 0] + a * middle[:, 1]], dim=1)
    shift = to - turned
    return torch.stack([torch.stack([a, -b, shift[:, 0]], dim=1), torch.stack([b, a, shift[:, 1]], dim=1)], dim=1)


def moved(points: Tensor, matrices: Tensor) -> Tensor:
    """Points [n, m, 2] through matrices [n, 2, 3]."""
    return (matrices[:, None, :, :2] * points[:, :, None]).sum(dim=-1) + matrices[:, None, :, 2]


def warped(pictures: Tensor, matrices: Tensor, side: int) -> Tensor:
    """float [n, c, H, W] moved by similarities [n, 2, 3] into [n, c, side, side]; black where there is none. As OpenCV's
    warpAffine: between four pixels, without smoothing."""
    a, b = matrices[:, 0, 0], matrices[:, 1, 0]
    size = a * a + b * b
    a, b = a / size, b / size
    along = torch.arange(side, device=pictures.device, dtype=torch.float32)
    x = along[None, None, :] - matrices[:, 0, 2, None, None]
    y = along[None, :, None] - matrices[:, 1, 2, None, None]
    a, b = a[:, None, None], b[:, None, None]
    height, width = pictures.shape[2:]
    grid = torch.stack([(2 * (a * x + b * y) + 1) / width - 1, (2 * (a * y - b * x) + 1) / height - 1], dim=-1)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def aligned(pictures: Tensor, points: Tensor, side: int) -> Tensor:
    """InsightFace's aligned faces, float [n, 3, side, side], of pictures [n, 3, H, W]."""
    return warped(pictures, alignment(points, side), side)


def channels_first(pictures: Tensor) -> Tensor:
    """uint8 [n, H, W, 3] to float [n, 3, H, W], 0..255."""
    return pictures.movedim(-1, 1).float()


@torch.no_grad()
def softened(pictures: Tensor, share: float = 1.0) -> Tensor:
    """float [n, 3, S, S] (0..255), a share of them less sharp, in other light and colours, and with some noise."""
    n, _, side, _ = pictures.shape
    device = pictures.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, device=device)

    def uniform() -> Tensor:
        return torch.rand(n, 1, 1, 1, device=device)

    blurs = [pictures]
    for factor in (1.6, 2.7, 4.5):
        small = F.interpolate(pictures, size=round(side / factor), mode="bilinear", antialias=True)
        blurs.append(F.interpolate(small, size=side, mode="bilinear"))
    blur = 3 * uniform()
    soft = sum((1 - (blur - k).abs()).clamp_(min=0) * level for k, level in enumerate(blurs))
    gain = (1 + 0.08 * normal(3, 1, 1)) * (1 + 0.12 * normal(1, 1, 1))
    shift = 8 * normal(3, 1, 1) + 8 * normal(1, 1, 1)
    noise = F.interpolate(8 * uniform() * normal(1, side // 2, side // 2), size=side, mode="nearest")
    changed = (soft * gain + shift + noise).clamp_(0, 255)
    return torch.where(uniform() < share, changed, pictures)


def sharpness(pictures: Tensor) -> Tensor:
    """Variance of the Laplacian of the brightness, [n], of pictures [n, 3, H, W] (0..255)."""
    light = (pictures * _constant((0.299, 0.587, 0.114), pictures.device)[:, None, None]).sum(dim=1)
    inner = light[:, 1:-1, 1:-1]
    laplacian = light[:, 2:, 1:-1] + light[:, :-2, 1:-1] + light[:, 1:-1, 2:] + light[:, 1:-1, :-2] - 4 * inner
    return laplacian.flatten(1).var(dim=1)
