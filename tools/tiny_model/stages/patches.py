"""A network that learns to tell drawings from decoded pictures judges patches of both (arXiv:1611.07004); what it sees in a
decoded picture and in the drawing is to be alike as well (arXiv:1512.09300)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..worker import Worker

OWN = 0.02  # of the judge's own loss, whose gradients are large, and are clipped together with the others
SEEN_ALIKE = 4.0  # against being taken for a drawing


class Patches(nn.Module):
    """Says of patches of pictures (-1..1) how much they look drawn; all it sees on the way is told, too."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList()
        for before, after, stride in ((3, 48, 2), (48, 96, 2), (96, 128, 2), (128, 128, 1)):
            norm = nn.GroupNorm(8, after) if before > 3 else nn.Identity()
            self.layers.append(
                nn.Sequential(nn.Conv2d(before, after, 2 + stride if stride > 1 else 3, stride, 1), norm, nn.LeakyReLU(0.2))
            )
        self.head = nn.Conv2d(128, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        seen = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        return self.head(x), seen

    def judge(self, worker: Worker, decoded: Tensor, drawn: Tensor, pairs: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """How differently the first `pairs` (default: all) decoded pictures and drawings are seen; how much decoded pictures
        look drawn; and how badly both are told apart (hinge), which alone the judge learns from."""
        fixed = {name: p.detach() for name, p in self.named_parameters()}
        with worker.fast():
            verdict, seen = torch.func.functional_call(self, fixed, (decoded,))
            real, wanted = self(drawn)
            other, _ = self(decoded.detach())
        alike = sum((a[:pairs] - b[:pairs].detach()).float().abs().mean() for a, b in zip(seen, wanted, strict=True)) / len(
            seen
        )
        told = F.relu(1 - real.float()).mean() + F.relu(1 + other.float()).mean()
        return alike, verdict.float().mean(), told


def balance(first: Tensor, second: Tensor, at: Tensor) -> Tensor:
    """By how much the first one's gradient at a tensor is larger than the second one's (arXiv:2012.09841)."""
    sizes = [torch.autograd.grad(value, at, retain_graph=True)[0].norm() for value in (first, second)]
    return (sizes[0] / (sizes[1] + 1e-8)).clamp(max=1e3).detach()
