"""The ways to look at a picture for faces, and how it is put before the detector for each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DETECTOR_SIZES = ((128, 128), (640, 640))  # InsightFace's own: the small one finds large faces
TURNS = ("", "turned a quarter left", "turned upside down", "turned a quarter right")
# A bordered picture may have as many times the pixels of the picture itself, which is three times as long as wide, or as many
# pixels altogether. What would be larger is reduced first.
MOST_TIMES, MOST_PIXELS = 8, 4_000_000


@dataclass(frozen=True)
class Try:
    """One way to look at a picture.

    border  width of a black border around it, as a share of its longer side: a face that fills the picture is found in a
            smaller part of it.
    sizes   detector sizes (width, height).
    turn    quarters of a turn to the left that the picture is turned by: a detector knows upright faces.
    """

    border: float = 0.0
    sizes: tuple[tuple[int, int], ...] = DETECTOR_SIZES
    turn: int = 0

    def __str__(self) -> str:
        sizes = " and ".join(f"{w}x{h}" for w, h in self.sizes)
        border = f" with a border of {self.border:.0%}" if self.border else ""
        return f"{sizes}{border}" + (f", {TURNS[self.turn]}" if self.turn else "")


# The first is what InsightFace does by itself; the others follow only while nothing was found.
TRIES = (
    Try(),
    Try(border=0.5),
    Try(sizes=((320, 320), (1280, 1280))),
    Try(border=0.25, sizes=((256, 256), (320, 320))),
    Try(turn=1),
    Try(turn=3),
    Try(turn=2),
)


def put_before_detector(bgr: np.ndarray, attempt: Try) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """(the picture to look at, what takes points [..., 2] in it to the places in `bgr` that they show)."""
    height, width = bgr.shape[:2]
    shown = np.ascontiguousarray(np.rot90(bgr, attempt.turn)) if attempt.turn else bgr
    scale = np.ones(2, np.float32)
    if _bordered(shown, attempt)[0] > max(MOST_PIXELS, MOST_TIMES * height * width):
        shown, scale = _reduced(shown, max(max(size) for size in attempt.sizes))
    _, border, below, right = _bordered(shown, attempt)
    if border or below or right:
        shown = np.pad(shown, ((border, border + below), (border, border + right), (0, 0)))

    def back(points: np.ndarray) -> np.ndarray:
        places = (points - np.array([border, border], np.float32)) * scale
        x, y = places[..., 0], places[..., 1]
        turned = ((x, y), (width - 1 - y, x), (width - 1 - x, height - 1 - y), (y, height - 1 - x))[attempt.turn]
        return np.stack(turned, axis=-1) if attempt.turn else places

    return shown, back


def _bordered(bgr: np.ndarray, attempt: Try) -> tuple[int, int, int, int]:
    """(pixels with its border, width of the border, rows and columns added beyond it)."""
    height, width = bgr.shape[:2]
    border = round(attempt.border * max(height, width))
    # A strip thinner than a pixel of the detector's picture can't be reduced to it.
    low = -(-max(height, width) // min(min(size) for size in attempt.sizes)) + 1
    below, right = max(0, low - height - 2 * border), max(0, low - width - 2 * border)
    return (height + 2 * border + below) * (width + 2 * border + right), border, below, right


def _reduced(bgr: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """(the picture with `longest` pixels along its longer side, pixels of the original for one of its own along x and y)."""
    import cv2

    height, width = bgr.shape[:2]
    share = min(1.0, longest / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    scale = np.array([width / size[0], height / size[1]], np.float32)
    return cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), scale
