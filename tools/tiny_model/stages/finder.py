"""The network that finds drawn faces, on a grid over the whole picture."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Drawings, softened
from ..worker import Worker, train

CANVAS = 96  # pixels; pictures are looked at in this size
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
    count = max(4, batch // worker.world)
    centres = torch.from_numpy(middles()).to(worker.device)

    def loss(rng: np.random.Generator) -> Tensor:
        pictures, points = zip(*(_example(drawings, rng) for _ in range(count)), strict=True)
        pixels = (torch.from_numpy(np.stack(pictures)).movedim(-1, 1).float() - 127.5) / 128
        seen = finder(pixels.to(worker.device)).flatten(2).movedim(1, 2)  # [n, cells, 15]
        values = np.stack([np.concatenate([face_box(p), p.reshape(-1)]) for p in points]).astype(np.float32)
        wanted = torch.from_numpy(values).to(worker.device)  # [n, 14]; NaN without a face
        near, far = _near(wanted, centres)
        offsets = (wanted[:, None].unflatten(-1, (7, 2)) - centres[None, :, None]).flatten(2) / REACH
        judged = F.binary_cross_entropy_with_logits(seen[..., 0], near.float(), reduction="none")[near | far].mean()
        return judged + (seen[..., 1:] - offsets)[near].abs().mean() if near.any() else judged

    train(worker, "finder", finder, loss, steps, 2e-3)
    return finder


def _near(wanted: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Which cells [n, cells] are to say "face", and which are to deny it; those between may say what they like."""
    low, high = wanted[:, None, :2], wanted[:, None, 2:4]
    away = ((centres - (low + high) / 2).abs() / (high - low)).amax(dim=-1)  # 0.5 at the box's edge
    return away < 0.2, ~(away < 0.35)


def _example(drawings: Drawings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A canvas [CANVAS, CANVAS, 3] and the face's points on it [5, 2]; NaN where there is none."""
    place = tuple(rng.integers(drawings.pictures.shape[:3]))
    picture, points = drawings.pictures[place], drawings.points[place]
    side = picture.shape[0]
    if rng.random() < FACELESS:
        return _faceless(picture, rng), np.full((5, 2), np.nan, np.float32)
    size = CANVAS * np.exp(rng.uniform(np.log(0.35), np.log(1.3))) / side  # of a picture's pixel on the canvas
    room = CANVAS - size * side
    at = rng.uniform(min(0, room * 0.7), max(0, room), 2)
    matrix = np.float32([[size, 0, at[0]], [0, size, at[1]]])
    behind = _behind(drawings, rng)
    sized = cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA) if size < 1 else picture
    exact = matrix @ np.diag([side / sized.shape[1], side / sized.shape[0], 1]).astype(np.float32)
    canvas = cv2.warpAffine(sized, exact, (CANVAS, CANVAS), dst=behind, borderMode=cv2.BORDER_TRANSPARENT)
    return softened(canvas, rng) if rng.random() < 0.5 else canvas, (points * size + at).astype(np.float32)


def _behind(drawings: Drawings, rng: np.random.Generator) -> np.ndarray:
    """What surrounds a picture: black, as InsightFace adds it, a colour, or whatever is no face."""
    kind = rng.random()
    if kind < 0.4:
        return np.zeros((CANVAS, CANVAS, 3), np.uint8)
    if kind < 0.6:
        return np.full((CANVAS, CANVAS, 3), rng.integers(0, 256, 3), np.uint8)
    return _faceless(drawings.pictures[tuple(rng.integers(drawings.pictures.shape[:3]))], rng)


def _faceless(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Anything but an upright face: noise, blots, pieces of a drawing in another order, or a drawing on its head."""
    kind = rng.random()
    if kind < 0.05:
        return np.full((CANVAS, CANVAS, 3), rng.integers(0, 256, 3), np.uint8)
    if kind < 0.25:
        return _noise(rng)
    if kind < 0.6:
        return _blots(rng)
    shrunk = cv2.resize(picture, (CANVAS, CANVAS), interpolation=cv2.INTER_AREA)
    if kind < 0.75:
        return np.ascontiguousarray(np.rot90(shrunk, rng.integers(1, 4)))
    pieces = int(rng.choice([2, 4, 6, 8]))
    step = CANVAS // pieces
    tiles = shrunk.reshape(pieces, step, pieces, step, 3).swapaxes(1, 2).reshape(-1, step, step, 3)
    order = rng.permutation(pieces**2) if pieces > 2 else np.asarray([3, 2, 1, 0])
    return tiles[order].reshape(pieces, pieces, step, step, 3).swapaxes(1, 2).reshape(CANVAS, CANVAS, 3)


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Of one to three sizes of grain, in colour or grey."""
    total = np.zeros((CANVAS, CANVAS, 3), np.float32)
    for _ in range(rng.integers(1, 4)):
        small, channels = int(rng.integers(2, CANVAS)), int(rng.choice([1, 3]))
        grain = rng.normal(0, rng.uniform(10, 60), (small, small, channels)).astype(np.float32)
        total += cv2.resize(np.repeat(grain, 3 // channels, axis=-1), (CANVAS, CANVAS))
    return np.clip(total + rng.uniform(40, 215, 3), 0, 255).astype(np.uint8)


def _blots(rng: np.random.Generator) -> np.ndarray:
    """Ellipses, boxes and lines anywhere, sharp or soft: what things and textures look like at this size."""
    canvas = _noise(rng) if rng.random() < 0.5 else np.full((CANVAS, CANVAS, 3), rng.integers(0, 256, 3), np.uint8)
    hue = rng.integers(0, 256, 3)
    for _ in range(rng.integers(2, 40)):
        colour = np.clip(hue + rng.normal(0, rng.choice([15, 80]), 3), 0, 255).astype(int).tolist()
        x, y, wide, high = (int(v) for v in (*rng.integers(0, CANVAS, 2), *rng.integers(1, CANVAS // 2, 2)))
        thick = int(rng.choice([-1, 1, 2, 4]))
        shape = rng.integers(3)
        if shape == 0:
            cv2.ellipse(canvas, (x, y), (wide, high), int(rng.integers(180)), 0, 360, colour, thick)
        elif shape == 1:
            cv2.rectangle(canvas, (x, y), (x + wide, y + high), colour, thick)
        else:
            cv2.line(canvas, (x, y), (x + wide - CANVAS // 4, y + high - CANVAS // 4), colour, max(1, thick))
    soft = rng.uniform(0, 3)
    return cv2.GaussianBlur(canvas, (0, 0), soft) if soft > 0.4 else canvas
