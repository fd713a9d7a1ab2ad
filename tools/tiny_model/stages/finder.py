"""The network that finds drawn faces, on a grid over the whole picture."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clutter import SIDE as CANVAS  # pixels; pictures are looked at in this size
from ..crops import channels_first, moved, softened, warped
from ..data import Drawings
from ..worker import Worker, train

GRID = CANVAS // 8
REACH = 32  # pixels of the canvas that a predicted distance of 1 means
FACELESS = 0.4  # of the examples


class Finder(nn.Module):
    """RGB [n, 3, CANVAS, CANVAS] in -1..1 to [n, 15, GRID, GRID]: a logit, the box and five points.

    Box and points are (x, y) from the middle of the cell, in REACH.
    """

    def __init__(self):
        super().__init__()
        sizes = ((3, 16, 2), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1))
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in sizes)
        self.head = nn.Conv2d(64, 15, 1)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        return self.head(x)


def middles() -> np.ndarray:
    """(x, y) of each cell's middle in pixels of the canvas, [GRID * GRID, 2], row by row."""
    along = (np.arange(GRID) + 0.5) * 8
    return np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2).astype(np.float32)


def face_box(points: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 around a face whose five points [5, 2] are known: from the forehead to the chin."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    down = np.linalg.norm(mouth - eyes)
    centre = (eyes + mouth) / 2
    half = np.asarray([1.05, 1.3]) * max(down, 0.8 * np.linalg.norm(points[1] - points[0]))
    return np.concatenate([centre - half, centre + half])


def train_finder(worker: Worker, drawings: Drawings, steps: int, batch: int = 64) -> Finder:
    finder = worker.build(Finder)
    count = max(10, batch // worker.world)
    centres = torch.from_numpy(middles()).to(worker.device)

    def loss(_: Tensor) -> Tensor:
        pictures, wanted, there = _examples(drawings, count)
        with worker.fast():
            seen = finder((pictures - 127.5) / 128)
        seen = seen.float().flatten(2).movedim(1, 2)  # [n, cells, 15]
        near, far = _near(wanted, there, centres)
        offsets = (wanted[:, None].unflatten(-1, (7, 2)) - centres[None, :, None]).flatten(2) / REACH
        judged = F.binary_cross_entropy_with_logits(seen[..., 0], near, reduction="none")
        off = (seen[..., 1:] - offsets).abs().mean(dim=-1)
        return (judged * (near + far)).sum() / (near + far).sum() + (off * near).sum() / near.sum().clamp(min=1)

    train(worker, "finder", finder, loss, steps, 2e-3, between=drawings.look)
    return finder


def boxes(points: Tensor) -> Tensor:
    """face_box of each of [n, 5, 2], [n, 4]."""
    eyes, mouth = points[:, :2].mean(dim=1), points[:, 3:].mean(dim=1)
    down, across = (mouth - eyes).norm(dim=1), (points[:, 1] - points[:, 0]).norm(dim=1)
    high = torch.maximum(down, 0.8 * across)
    half = torch.stack([1.05 * high, 1.3 * high], dim=1)
    centre = (eyes + mouth) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _near(wanted: Tensor, there: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """1 for the cells [n, cells] that are to say "face", and for those that are to deny it; others may say what they like."""
    low, high = wanted[:, None, :2], wanted[:, None, 2:4]
    away = ((centres - (low + high) / 2).abs() / (high - low)).amax(dim=-1)  # 0.5 at the box's edge
    near = there[:, None] & (away < 0.2)
    return near.float(), (~(there[:, None] & (away < 0.35))).float()


@torch.no_grad()
def _examples(drawings: Drawings, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Canvases [n, 3, CANVAS, CANVAS] (0-255), box and points on them [n, 14], and whether there is a face [n]."""
    faceless = round(FACELESS * n)
    rows = drawings.rows(n)
    whole = channels_first(drawings.pictures[rows])
    points = drawings.points[rows] * (CANVAS / whole.shape[-1])
    small, tiny = (F.interpolate(whole, size=side, mode="bilinear", antialias=True) for side in (CANVAS, CANVAS // 2))
    tiny = F.interpolate(tiny, size=CANVAS, mode="bilinear")

    size = torch.exp(math.log(0.35) + math.log(1.3 / 0.35) * torch.rand(n, device=whole.device))
    room = CANVAS * (1 - size)[:, None]
    low, high = (0.7 * room).clamp(max=0), room.clamp(min=0)
    at = low + (high - low) * torch.rand(n, 2, device=whole.device)
    nought = torch.zeros_like(size)
    matrices = torch.stack([torch.stack([size, nought, at[:, 0]], 1), torch.stack([nought, size, at[:, 1]], 1)], dim=1)
    sized = torch.where((size < 0.6)[:, None, None, None], tiny, small)
    placed = warped(torch.cat([sized, torch.ones_like(sized[:, :1])], dim=1), matrices, CANVAS)
    canvas = placed[:, :3] + (1 - placed[:, 3:]) * _behind(drawings, n)
    points = moved(points, matrices)
    canvas[:faceless] = _faceless(drawings, small[:faceless])
    there = torch.arange(n, device=whole.device) >= faceless
    return softened(canvas, 0.5), torch.cat([boxes(points), points.flatten(1)], dim=1), there


def _behind(drawings: Drawings, n: int) -> Tensor:
    """What surrounds a picture: black, as InsightFace adds it, a colour, or clutter."""
    clutter = channels_first(drawings.nothings(n))
    kind = torch.rand(n, 1, 1, 1, device=clutter.device)
    colour = (255 * torch.rand(n, 3, 1, 1, device=clutter.device)).expand_as(clutter)
    return torch.where(kind < 0.4, torch.zeros_like(clutter), torch.where(kind < 0.6, colour, clutter))


def _faceless(drawings: Drawings, pictures: Tensor) -> Tensor:
    """Anything but an upright face: a colour, clutter, a drawing on its head or side, or its pieces in another order."""
    n = len(pictures)
    device, turned, mixed = pictures.device, round(0.15 * n), round(0.1 * n)
    canvas = channels_first(drawings.nothings(n))
    flat = torch.rand(n, 1, 1, 1, device=device) < 0.08
    canvas = torch.where(flat, (255 * torch.rand(n, 3, 1, 1, device=device)).expand_as(canvas), canvas)
    turns = torch.randint(1, 4, (turned, 1, 1, 1), device=device)
    for quarter in (1, 2, 3):
        canvas[:turned] = torch.where(turns == quarter, pictures[:turned].rot90(quarter, (2, 3)), canvas[:turned])
    for number, pieces in enumerate((2, 4, 8)):
        part = slice(turned + number * mixed, turned + (number + 1) * mixed)
        canvas[part] = _mixed(pictures[part], pieces)
    return canvas


def _mixed(pictures: Tensor, pieces: int) -> Tensor:
    """So many pieces a side, in another order; four pieces change places crosswise."""
    n, step = len(pictures), CANVAS // pieces
    tiles = pictures.unflatten(3, (pieces, step)).unflatten(2, (pieces, step)).movedim((2, 4), (1, 2)).flatten(1, 2)
    order = torch.rand(n, pieces**2, device=pictures.device).argsort(dim=1)
    if pieces == 2:
        order = torch.arange(3, -1, -1, device=pictures.device).expand(n, 4)
    tiles = tiles.gather(1, order[:, :, None, None, None].expand_as(tiles))
    return tiles.unflatten(1, (pieces, pieces)).movedim((1, 2), (2, 4)).flatten(4, 5).flatten(2, 3)
