"""How strongly a face acts in each block, from a short text."""

import re
from collections.abc import Callable

from ...errors import FaceGenError

# name -> weight of the block at x, its place along the UNet's forward pass from 0 (first) to 1 (last)
PRESETS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1.0,
    "ease in": lambda x: 0.05 + 0.95 * x,
    "ease out": lambda x: 1.0 - 0.95 * x,
    "ease in-out": lambda x: 1.0 - 0.95 * abs(2 * x - 1),
    "strong middle": lambda x: 1.0 if 0.25 <= x <= 0.75 else 0.4,
    "style-friendly": lambda x: 0.5 if x > 0.5 else 1.0,
}
_ITEM = re.compile(r"(\d+)(?:-(\d+))?:(\d+(?:\.\d+)?)")


def parse_layer_weights(text: str, blocks: int) -> list[float]:
    """Weights of `blocks` cross-attention blocks, counted from 0 along the forward pass (input, middle, output).

    text: "" for 1 everywhere, the name of a preset, or items such as "0:1.0, 3-5:0.4"; blocks not named keep 1.
    Raises FaceGenError with the item that can't be read.
    """
    text = text.strip()
    if text.lower() in PRESETS:
        return [PRESETS[text.lower()](i / max(1, blocks - 1)) for i in range(blocks)]
    weights = [1.0] * blocks
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _ITEM.fullmatch(item.replace(" ", ""))
        if not match:
            raise FaceGenError(
                f"layer_weights: can't read {item!r}. Write items such as 0:1.0, 3-5:0.4, or one of: {', '.join(PRESETS)}."
            )
        first, last, weight = int(match[1]), int(match[2] or match[1]), float(match[3])
        if first > last or last >= blocks:
            raise FaceGenError(f"layer_weights: {item!r} is out of range; this model has blocks 0 to {blocks - 1}.")
        weights[first : last + 1] = [weight] * (last - first + 1)
    return weights
