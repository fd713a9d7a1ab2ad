"""ComfyUI_IPAdapter_plus's weight types: how strongly a face acts in each cross-attention block.

The pack counts a UNet's spatial transformers along the forward pass, of which SD1.5 has 16 with one block each, and SDXL 11
with one to ten.
"""

from collections.abc import Sequence
from typing import NamedTuple

COUNTED = {"sd15": 16, "sdxl": 11}  # by which the pack divides a place
SDXL_BLOCKS = (
    2,
    2,
    10,
    10,
    10,
    10,
    10,
    10,
    2,
    2,
    2,
)  # of each spatial transformer along the forward pass: input, middle, output
PARTS = {"sd15": (6, 1, 9), "sdxl": (4, 1, 6)}  # spatial transformers of the input, the middle and the output part
WEAK = 0.2
COMPOSITION = {"sd15": (4, 5), "sdxl": (3,)}  # places that shape the composition
STYLE = {"sd15": (0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15), "sdxl": (6,)}


class Place(NamedTuple):
    """Of a block: the part of the UNet ("input", "middle" or "output") and its spatial transformer's number."""

    part: str
    number: int


class Weight(NamedTuple):
    """Of a block; `swapped` when the face acts on the unconditional side in place of the conditional one."""

    weight: float
    swapped: bool = False


def usual_places(base: str) -> list[Place]:
    """Of each cross-attention block of SD1.5 or SDXL along the forward pass."""
    counts = PARTS[base]
    parts = [part for part, count in zip(("input", "middle", "output"), counts, strict=True) for _ in range(count)]
    sizes = SDXL_BLOCKS if base == "sdxl" else (1,) * len(parts)
    return [Place(part, number) for number, (part, size) in enumerate(zip(parts, sizes, strict=True)) for _ in range(size)]


def block_weights(weight_type: str, weight: float, base: str, places: Sequence[Place]) -> list[Weight]:
    """Of each block at `places`, for the base "sd15" or "sdxl"."""
    return [_weight(weight_type, weight, base, place) for place in places]


def _weight(weight_type: str, weight: float, base: str, place: Place) -> Weight:
    if weight_type in _ALONG:
        return Weight(weight * (0.05 + 0.95 * _ALONG[weight_type](place.number / COUNTED[base])))
    if weight_type in _WEAK:
        return Weight(weight * (WEAK if place.part in _WEAK[weight_type] else 1.0))
    if weight_type in _PICKED:
        return _PICKED[weight_type](weight, base, place.number)
    return Weight(weight)


_ALONG = {
    "ease in": lambda x: 1 - x,
    "ease out": lambda x: x,
    "ease in-out": lambda x: 1 - abs(2 * x - 1),
    "reverse in-out": lambda x: abs(2 * x - 1),
}
_WEAK = {
    "weak input": ("input",),
    "weak output": ("output",),
    "weak middle": ("middle",),
    "strong middle": ("input", "output"),
}


def _composition(weight: float, base: str, number: int) -> float:
    """The composition's weight at a place that shapes it. The first of SD1.5's two counts a quarter."""
    return weight * (0.25 if base == "sd15" and number == COMPOSITION[base][0] else 1.0)


def _style_transfer(weight: float, base: str, number: int) -> Weight:
    return Weight(weight if number in STYLE[base] else 0.0)


def _composition_alone(weight: float, base: str, number: int) -> Weight:
    return Weight(_composition(weight, base, number) if number in COMPOSITION[base] else 0.0)


def _strong_style(weight: float, base: str, number: int) -> Weight:
    return Weight(0.0 if number in COMPOSITION[base] else weight)


def _style_and_composition(weight: float, base: str, number: int) -> Weight:
    """The composition's own weight, which these nodes don't ask for, is 1."""
    return Weight(_composition(1.0, base, number)) if number in COMPOSITION[base] else _style_transfer(weight, base, number)


def _style_precise(weight: float, base: str, number: int) -> Weight:
    if number in COMPOSITION[base]:
        return Weight(_composition(weight, base, number), swapped=True)
    return _style_transfer(weight, base, number)


def _composition_precise(weight: float, base: str, number: int) -> Weight:
    if number in COMPOSITION[base]:
        return Weight(_composition(weight, base, number))
    return Weight(weight * (1.0 if number in STYLE[base] else 0.1), swapped=True)


_PICKED = {
    "style transfer": _style_transfer,
    "composition": _composition_alone,
    "strong style transfer": _strong_style,
    "style and composition": _style_and_composition,
    "style transfer precise": _style_precise,
    "composition precise": _composition_precise,
}
