"""Attention patches of other packs that repeat rows of the batch, as packs for regional prompts do.

Which row became which is found out by giving such a patch numbered rows: once for each block and kind of call. A patch that
makes as many rows as it gets isn't called for that: it may keep count of its calls. What it made is looked at once, and an
error if it is the same rows in another order.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ....errors import FaceGenError
from .rows import ROWS, Options

Attn2Patch = Callable[[Tensor, Tensor, Tensor, Options], tuple[Tensor, Tensor, Tensor]]
DIGITS = 128  # below it every number is exact in every dtype

_found: weakref.WeakKeyDictionary[Any, dict[Any, tuple[int, ...]]] = weakref.WeakKeyDictionary()  # goes with the patch


def followed(options: Options) -> Options:
    """transformer_options in which rows are followed through the patches before cross-attention."""
    patches = options.get("patches", {})
    others = patches.get("attn2_patch")
    if not others:
        return options
    return {**options, "patches": {**patches, "attn2_patch": [_Followed(patch) for patch in others]}}


class _Followed:
    """A patch of another pack, which leaves the rows in `extra_options` if they are others than before."""

    def __init__(self, patch: Attn2Patch):
        self.patch = patch

    def __call__(self, n: Tensor, context: Tensor, value: Tensor, extra_options: Options) -> tuple[Tensor, Tensor, Tensor]:
        before = dict(extra_options)
        patched = self.patch(n, context, value, extra_options)
        if len(patched[0]) == len(n):
            if patched[0] is not n:
                self._check_order(n, patched[0], before)
        else:
            rows = self._rows(n, context, value, before, len(patched[0]))
            earlier = before.get(ROWS)
            extra_options[ROWS] = rows if earlier is None else tuple(earlier[row] for row in rows)
        return patched

    @torch.compiler.disable
    def _rows(self, n: Tensor, context: Tensor, value: Tensor, options: Options, made: int) -> tuple[int, ...]:
        found, call = self._known(n, made, options)
        if call not in found:
            found[call] = self._numbered(n, context, value, options)
        return found[call]

    @torch.compiler.disable
    def _check_order(self, n: Tensor, made: Tensor, options: Options) -> None:
        """Raises FaceGenError for the rows of n in another order. Rows that are alike tell nothing, and a row that was written
        over with another one is still its own."""
        found, call = self._known(n, len(made), options)
        if call in found:
            return
        if made.shape == n.shape:
            same = (made[:, 0, None] == n[:, 0]).all(dim=-1)
            if bool(same.any(0).all() & same.any(1).all() & ~same.diagonal().all()):
                raise FaceGenError(
                    f"another node on this model ({_name(self.patch)}) changes the order of the latents inside the model's "
                    "attention, so the face can't be given to the right ones. Take that node off, or sample without a face."
                )
        found[call] = ()

    def _known(self, n: Tensor, made: int, options: Options) -> tuple[dict[Any, tuple[int, ...]], Any]:
        """(what was found out about the patch, the kind of this call)"""
        block = options.get("block"), options.get("block_index")
        call = (*n.shape[:2], made, tuple(options["cond_or_uncond"]), block)
        try:
            return _found.setdefault(self.patch, {}), call
        except TypeError:  # neither hashed nor referred to weakly: found out anew
            return {}, call

    def _numbered(self, n: Tensor, context: Tensor, value: Tensor, options: Options) -> tuple[int, ...]:
        """For each row that the patch makes, the number of the row it was. Raises FaceGenError when it is a copy of none."""
        numbers = torch.arange(len(n), device=n.device)
        given = torch.empty_like(n)
        given[..., 0], given[..., 1:] = (numbers % DIGITS)[:, None], (numbers // DIGITS)[:, None, None]
        made = self.patch(given, context, value, options)[0]
        if made.shape[1:] == given.shape[1:]:
            rows = [round(low + DIGITS * high) for low, high in made[:, 0, :2].nan_to_num().tolist()]
            if all(0 <= row < len(n) for row in rows) and torch.equal(made, given[rows]):
                return tuple(rows)
        raise FaceGenError(
            f"another node on this model ({_name(self.patch)}) turns {len(n)} latents into {len(made)} inside the model's "
            "attention, and they aren't copies of those, so the face can't be given to the right ones. Take that node off, or "
            "sample without a face."
        )


def _name(patch: Any) -> str:
    known = patch if hasattr(patch, "__qualname__") else type(patch)
    return f"{known.__module__}.{known.__qualname__}"
