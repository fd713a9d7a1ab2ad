"""Pictures of anything but a face: noise and blots, for a detector to learn from."""

import cv2
import numpy as np

SIDE = 96


def clutter(rng: np.random.Generator) -> np.ndarray:
    """RGB uint8 [SIDE, SIDE, 3]."""
    return _noise(rng) if rng.random() < 0.35 else _blots(rng)


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Of one to three sizes of grain, in colour or grey."""
    total = np.zeros((SIDE, SIDE, 3), np.float32)
    for _ in range(rng.integers(1, 4)):
        small, channels = int(rng.integers(2, SIDE)), int(rng.choice([1, 3]))
        grain = rng.normal(0, rng.uniform(10, 60), (small, small, channels)).astype(np.float32)
        total += cv2.resize(np.repeat(grain, 3 // channels, axis=-1), (SIDE, SIDE))
    return np.clip(total + rng.uniform(40, 215, 3), 0, 255).astype(np.uint8)


def _blots(rng: np.random.Generator) -> np.ndarray:
    """Ellipses, boxes and lines anywhere, sharp or soft: what things and textures look like at this size."""
    canvas = _noise(rng) if rng.random() < 0.5 else np.full((SIDE, SIDE, 3), rng.integers(0, 256, 3), np.uint8)
    hue = rng.integers(0, 256, 3)
    for _ in range(rng.integers(2, 40)):
        colour = np.clip(hue + rng.normal(0, rng.choice([15, 80]), 3), 0, 255).astype(int).tolist()
        x, y, wide, high = (int(v) for v in (*rng.integers(0, SIDE, 2), *rng.integers(1, SIDE // 2, 2)))
        thick = int(rng.choice([-1, 1, 2, 4]))
        shape = rng.integers(3)
        if shape == 0:
            cv2.ellipse(canvas, (x, y), (wide, high), int(rng.integers(180)), 0, 360, colour, thick)
        elif shape == 1:
            cv2.rectangle(canvas, (x, y), (x + wide, y + high), colour, thick)
        else:
            cv2.line(canvas, (x, y), (x + wide - SIDE // 4, y + high - SIDE // 4), colour, max(1, thick))
    soft = rng.uniform(0, 3)
    return cv2.GaussianBlur(canvas, (0, 0), soft) if soft > 0.4 else canvas
