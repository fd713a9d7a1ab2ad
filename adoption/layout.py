"""Where a new node goes in a graph that somebody has laid out: near another one, and over none."""

from collections.abc import Iterable, Sequence
from typing import Any

TITLE, GAP, STEP = 30, 20, 20  # pixels: of a node's title bar, between nodes, by which a place is looked for
Box = tuple[float, float, float, float]  # x0, y0, x1, y1


def free_place(size: Sequence[float], near: dict[str, Any], nodes: Iterable[dict[str, Any]]) -> list[float]:
    """Place [x, y] for a node of this size: as far below the node `near`, in its column, as it takes to lie over no other."""
    taken = [box(node) for node in nodes if node.get("pos") is not None]
    x, _, _, y = box(near)
    y += GAP + TITLE
    while any(_overlap(_box(x, y, *size), other) for other in taken):
        y += STEP
    return [x, y]


def box(node: dict[str, Any]) -> Box:
    """A saved node's, its title bar included. A collapsed one takes its whole size when it is opened."""
    return _box(*_pair(node["pos"]), *_pair(node.get("size") or (0, 0)))


def _box(x: float, y: float, width: float, height: float) -> Box:
    return x, y - TITLE, x + width, y + height


def _pair(value: Any) -> tuple[float, float]:
    """Two numbers, which older graphs have as {"0": …, "1": …}."""
    return (value["0"], value["1"]) if isinstance(value, dict) else (value[0], value[1])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] + GAP and b[0] < a[2] + GAP and a[1] < b[3] + GAP and b[1] < a[3] + GAP
