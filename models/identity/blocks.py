"""The cross-attention blocks of a model, into which every identity method puts its keys and values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CrossAttention:
    """One cross-attention block, as the host names it.

    key      how the host addresses the block.
    path     module path of its transformer block, e.g. "input_blocks.1.1.transformer_blocks.0".
    width    channels of its queries.
    heads    number of attention heads.
    depth    position along the forward pass, from 0.
    """

    key: tuple[str | int, ...]
    path: str
    width: int
    heads: int
    depth: int
