"""Square views of a picture, for checkers whose networks see a square: together they show all of it.

A published checker looks at the middle of a picture alone, which of a portrait of 512x768 leaves out the uppermost and the
lowest 128 rows. Here it looks along the whole of the longer side, and the highest score counts.
"""

import math

LONGEST = 8  # squares along the longer side, at most; a longer picture lies in larger squares, on a black ground
MOST_VIEWS = 2 * LONGEST - 1
MAX_SIDE = 2048  # pixels along a side of what a network sees; published ones see 224 to 512


def starts(room: int, side: int) -> list[int]:
    """Where views of `side` pixels begin along a side of a picture that has `room` pixels more: the middle one, and from there
    evenly to both ends, each at most half a view further."""
    middle, steps = room // 2, math.ceil(room / side)
    before = [round(middle * n / steps) for n in range(steps)]
    return [*before, middle, *(room - round((room - middle) * n / steps) for n in reversed(range(steps)))]


def squares(height: int, width: int) -> tuple[int, list[tuple[int, int]]]:
    """(side, top and left of each square) along the longer side of a picture; see starts. In a picture longer than LONGEST
    squares they are larger than its shorter side."""
    side = max(min(height, width), -(-max(height, width) // LONGEST))
    return side, [(y, x) for y in starts(max(0, height - side), side) for x in starts(max(0, width - side), side)]
