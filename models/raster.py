"""Discs and filled ellipses with the very pixels that OpenCV gives them, without OpenCV.

Networks were trained on such drawings, and OpenCV rounds in ways of its own: corners of shapes to whole pixels, slanting
edges in 1/65536 of a pixel. Pictures are uint8 [H, W, 3] and are drawn on; shapes may lie partly or wholly outside.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

Pixel = tuple[int, int]  # x, y
Colour = Sequence[int]
ONE = 1 << 16  # a pixel, where the slanting edge of a shape is followed


def disc(picture: np.ndarray, centre: Pixel, radius: int, colour: Colour) -> None:
    """A filled circle, as cv2.circle draws it with thickness -1."""
    for down, across in _half_widths(radius).items():
        for y in {centre[1] - down, centre[1] + down}:
            _span(picture, y, centre[0] - across, centre[0] + across, colour)


def ellipse(picture: np.ndarray, centre: Pixel, axes: tuple[int, int], degrees: int, colour: Colour) -> None:
    """A filled ellipse, as cv2.fillConvexPoly draws the corners that cv2.ellipse2Poly gives for every degree.

    axes: half its length and half its width. degrees: how far it is turned from the x axis towards the y axis.
    """
    corners = _ellipse_corners(centre, axes, degrees)
    for start, end in pairwise([corners[-1], *corners]):
        _line(picture, start, end, colour)
    if len(corners) < 3:
        return
    top = min(range(len(corners)), key=lambda i: corners[i][1])
    around = corners[top:] + corners[:top]
    sides = _edge(around), _edge([around[0], *reversed(around[1:])])
    for y, (one, other) in enumerate(zip(*sides, strict=True), start=around[0][1]):
        _span(picture, y, _whole(min(one, other)), _whole(max(one, other)), colour)


def _half_widths(radius: int) -> dict[int, int]:
    """Rows below the centre of a disc -> how far it reaches to either side there, by the midpoint method."""
    found: dict[int, int] = {}
    across, error = radius, 0
    for down in range(radius + 1):
        if across < down:
            break
        found[down] = max(found.get(down, 0), across)
        found[across] = max(found.get(across, 0), down)
        error += 2 * down + 1
        if error > 0:
            error -= 2 * across - 1
            across -= 1
    return found


def _ellipse_corners(centre: Pixel, axes: tuple[int, int], degrees: int) -> list[Pixel]:
    """A corner for each degree, in whole pixels, less those that fall onto the one before."""
    # OpenCV's table of sines has seven digits, in float32.
    sines = np.sin(np.radians(np.arange(450 + 1))).round(7).astype(np.float32).astype(np.float64)
    turned = np.arange(361)
    x, y = axes[0] * sines[90 + turned], axes[1] * sines[turned]
    sine, cosine = sines[degrees % 360], sines[90 + degrees % 360]
    across, down = centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine
    corners = list(zip(np.rint(across).astype(int).tolist(), np.rint(down).astype(int).tolist(), strict=True))
    kept = corners[:1] + [corner for before, corner in pairwise(corners) if corner != before]
    return kept if len(kept) > 1 else [centre, centre]


def _edge(corners: list[Pixel]) -> Iterator[int]:
    """x in 1/65536 pixels of each row, from the first corner, the topmost, to above the lowest, along these corners."""
    lowest = max(y for _, y in corners)
    (x, y), at = corners[0], 0
    while y < lowest:
        following = next(i for i in range(at + 1, len(corners)) if corners[i][1] > y)
        x, (next_x, next_y) = corners[following - 1][0], corners[following]
        rows = next_y - y
        step = _towards_zero(2 * ONE * (next_x - x) + rows, 2 * rows)
        yield from (x * ONE + step * row for row in range(rows))
        y, at = next_y, following


def _towards_zero(number: int, divisor: int) -> int:
    return number // divisor if number >= 0 else -(-number // divisor)


def _whole(x: int) -> int:
    return (x + ONE // 2) >> 16


def _span(picture: np.ndarray, y: int, first: int, last: int, colour: Colour) -> None:
    if 0 <= y < len(picture) and last >= 0:
        picture[y, max(0, first) : last + 1] = colour


def _line(picture: np.ndarray, start: Pixel, end: Pixel, colour: Colour) -> None:
    """One pixel wide, by Bresenham's method, from left to right."""
    ends = _clipped(start, end, picture.shape[1] - 1, picture.shape[0] - 1)
    if ends is None:
        return
    (x0, y0), (x1, y1) = ends if ends[0][0] <= ends[1][0] else ends[::-1]
    across, down = x1 - x0, abs(y1 - y0)
    longer, shorter = max(across, down), min(across, down)
    along = np.arange(longer + 1)
    aside = (2 * shorter * along + longer - 1) // (2 * longer) if longer else along
    x, y = (aside, along) if down > across else (along, aside)
    picture[y0 + (y if y1 >= y0 else -y), x0 + x] = colour


def _clipped(start: Pixel, end: Pixel, right: int, bottom: int) -> tuple[Pixel, Pixel] | None:
    """The part of a line inside the picture, cut at its top and bottom first; None if there is none."""
    ends = [start, end]
    for axis, last in ((1, bottom), (0, right)):
        low, high = sorted(point[axis] for point in ends)
        if high < 0 or low > last:
            return None
        for i in (0, 1):
            here, other = ends[i], ends[1 - i]
            limit = min(max(here[axis], 0), last)
            if limit != here[axis]:
                aside = here[1 - axis] + int(
                    (limit - here[axis]) * (other[1 - axis] - here[1 - axis]) / (other[axis] - here[axis])
                )
                ends[i] = (aside, limit) if axis == 1 else (limit, aside)
    return ends[0], ends[1]
