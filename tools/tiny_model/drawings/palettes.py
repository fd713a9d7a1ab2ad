"""The named colours that people and views have, as RGB in 0..1."""

from __future__ import annotations

import numpy as np

RGB = tuple[float, float, float]

HAIR_COLOURS: dict[str, RGB] = {
    "black": (0.07, 0.06, 0.08),
    "brown": (0.36, 0.20, 0.10),
    "blonde": (0.95, 0.80, 0.38),
    "red": (0.80, 0.22, 0.07),
    "grey": (0.55, 0.56, 0.58),
    "white": (0.95, 0.95, 0.94),
    "blue": (0.13, 0.33, 0.85),
    "pink": (0.97, 0.48, 0.71),
    "purple": (0.48, 0.18, 0.68),
    "green": (0.15, 0.62, 0.27),
}
BACKGROUNDS: dict[str, RGB] = {
    "red": (0.80, 0.13, 0.14),
    "blue": (0.14, 0.32, 0.80),
    "green": (0.16, 0.58, 0.22),
    "yellow": (0.97, 0.86, 0.20),
    "purple": (0.52, 0.22, 0.70),
    "orange": (0.98, 0.55, 0.10),
    "grey": (0.52, 0.53, 0.55),
    "white": (0.96, 0.96, 0.96),
    "teal": (0.08, 0.62, 0.64),
}
SKIN_TONES: dict[str, RGB] = {
    "light": (0.99, 0.86, 0.78),
    "fair": (0.95, 0.76, 0.62),
    "tan": (0.84, 0.62, 0.44),
    "olive": (0.70, 0.54, 0.36),
    "brown": (0.52, 0.34, 0.22),
    "dark": (0.32, 0.20, 0.14),
}
EYE_COLOURS: dict[str, RGB] = {
    "brown": (0.38, 0.21, 0.09),
    "blue": (0.16, 0.45, 0.88),
    "green": (0.18, 0.58, 0.25),
    "grey": (0.50, 0.55, 0.60),
    "amber": (0.82, 0.55, 0.10),
}
FRAME_COLOURS: dict[str, RGB] = {
    "black": (0.06, 0.06, 0.07),
    "red": (0.82, 0.10, 0.12),
    "blue": (0.10, 0.25, 0.75),
    "gold": (0.85, 0.65, 0.15),
    "white": (0.97, 0.97, 0.97),
}
CLOTHES: dict[str, RGB] = {
    "navy": (0.13, 0.18, 0.36),
    "charcoal": (0.20, 0.21, 0.24),
    "cream": (0.92, 0.88, 0.78),
    "rust": (0.70, 0.32, 0.16),
    "forest": (0.16, 0.36, 0.24),
    "wine": (0.48, 0.12, 0.20),
    "sky": (0.50, 0.70, 0.88),
    "mustard": (0.86, 0.66, 0.20),
    "lilac": (0.68, 0.58, 0.84),
    "scarlet": (0.82, 0.18, 0.18),
}
LIP_COLOURS: dict[str, RGB] = {
    "rose": (0.80, 0.36, 0.36),
    "crimson": (0.78, 0.05, 0.12),
    "plum": (0.50, 0.10, 0.35),
    "pink": (0.95, 0.35, 0.55),
}


def jitter(rgb: RGB, rng: np.random.Generator, sigma: float) -> RGB:
    """The colour with normal noise of `sigma` on each channel, kept in 0..1."""
    red, green, blue = np.clip(np.asarray(rgb) + rng.normal(0.0, sigma, 3), 0.0, 1.0)
    return float(red), float(green), float(blue)
