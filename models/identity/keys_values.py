"""Where tokens become keys and values: by two matrices for each cross-attention block (arXiv:2308.06721, section 3.2.2).

This happens once, when an adapter is applied, on the CPU in float32. Only the small keys and values live through sampling.
IP-Adapter's files count self- and cross-attention alternately, so the matrices of block i have the number 2 * i + 1.
"""

from collections.abc import Iterable, Mapping
from itertools import product

import torch
from torch import Tensor

KEY, VALUE = "to_k", "to_v"


def count_blocks(names: Iterable[str]) -> int:
    """For how many blocks a file with these tensors has keys."""
    return sum(name.endswith(f".{KEY}_ip.weight") for name in names)


def matrix_names(blocks: int) -> list[str]:
    """Names of the matrices of so many blocks: key and value of the first, of the second, and so on."""
    return [_name(block, part) for block, part in product(range(blocks), (KEY, VALUE))]


def query_widths(weights: Mapping[str, Tensor]) -> list[int]:
    """Query channels of the blocks that the file was trained for, in its own order: down, up, middle."""
    return [weights[_name(block, KEY)].shape[0] for block in range(count_blocks(weights))]


@torch.no_grad()
def project_tokens(weights: Mapping[str, Tensor], tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Key and value [..., tokens, width] of each block, in the file's order, from float32 tokens [..., tokens, context_dim].

    They are linear in the tokens: those of a weighted sum of tokens are the sum, so weighted, of those of its parts.
    """

    def of(block: int, part: str) -> Tensor:
        return tokens @ weights[_name(block, part)].float().T

    return [(of(block, KEY), of(block, VALUE)) for block in range(count_blocks(weights))]


def _name(block: int, part: str) -> str:
    return f"ip_adapter.{2 * block + 1}.{part}_ip.weight"
