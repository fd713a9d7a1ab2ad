"""Where tokens become keys and values: by two matrices for each cross-attention block (arXiv:2308.06721, section 3.2.2).

This happens once, when an adapter is applied, on the CPU in float32. Only the small keys and values live through sampling.
The files count self- and cross-attention alternately, so the matrices of block i have the number 2 * i + 1.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Matrices(NamedTuple):
    """What the matrices of a block are called, with {} for its number."""

    key: str
    value: str

    def of(self, block: int) -> tuple[str, str]:
        """Names of the two of a block, counted from 0."""
        return self.key.format(2 * block + 1), self.value.format(2 * block + 1)


IP_ADAPTER = Matrices("ip_adapter.{}.to_k_ip.weight", "ip_adapter.{}.to_v_ip.weight")


def count_blocks(names: Iterable[str], matrices: Matrices = IP_ADAPTER) -> int:
    """For how many blocks a file with these tensors has keys."""
    start, end = matrices.key.split("{}")
    return sum(name.startswith(start) and name.endswith(end) for name in names)


def matrix_names(blocks: int, matrices: Matrices = IP_ADAPTER) -> list[str]:
    """Names of the matrices of so many blocks: key and value of the first, of the second, and so on."""
    return [name for block in range(blocks) for name in matrices.of(block)]


def query_widths(weights: Mapping[str, Tensor], matrices: Matrices = IP_ADAPTER) -> list[int]:
    """Query channels of the blocks that the file was trained for, in its own order: down, up, middle."""
    return [weights[matrices.of(block)[0]].shape[0] for block in range(count_blocks(weights, matrices))]


@torch.no_grad()
def project_tokens(
    weights: Mapping[str, Tensor], tokens: Tensor, matrices: Matrices = IP_ADAPTER
) -> list[tuple[Tensor, Tensor]]:
    """Key and value [..., tokens, width] of each block, in the file's order, from float32 tokens [..., tokens, context_dim].

    They are linear in the tokens: those of a weighted sum of tokens are the sum, so weighted, of those of its parts.
    """

    def by(name: str) -> Tensor:
        return tokens @ weights[name].float().T

    pairs = map(matrices.of, range(count_blocks(weights, matrices)))
    return [(by(key), by(value)) for key, value in pairs]
