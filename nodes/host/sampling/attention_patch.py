"""A face in the cross-attention of a ComfyUI model: what is patched, and when and where the patch acts."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import CallbacksMP
from torch import Tensor

from ....models.identity.attention import IdentityAttention
from ....models.identity.blocks import CrossAttention
from .conditionings import KEY, WINDOWS, watch
from .mask_region import Region
from .neighbours import APPLIED, BLOCKS, FACES, before
from .rows import Options, chunks
from .sigma_window import SigmaWindow

Attend = Callable[[Tensor, Tensor, int, float], IdentityAttention]


def add_face(
    patched: Any,
    blocks: Sequence[CrossAttention],
    keys_values: Sequence[tuple[Tensor, Tensor]],
    weights: Sequence[float],
    percent_range: tuple[float, float] = (0.0, 1.0),
    region: Region | None = None,
    attend: Attend = IdentityAttention,
) -> None:
    """Add a face to the attention of `patched`, a clone (a ModelPatcher) that is the caller's own.

    keys_values    of each block, in the order of `blocks`, as an adapter gives them.
    weights        of each block along the forward pass.
    percent_range  where in the sampling the face acts, from 0 to 1. region: where in the picture.
    attend         makes a block's attention to the face, from key, value, number of heads and weight.
    """
    watch(patched)
    if not patched.get_callbacks(CallbacksMP.ON_CLONE, KEY):
        patched.add_callback_with_key(CallbacksMP.ON_CLONE, KEY, give_own_patches)
    window = SigmaWindow.between(patched, *percent_range)
    options = patched.model_options["transformer_options"]
    if window is not None:
        options[WINDOWS] = (*options.get(WINDOWS, ()), window.range)
    dtype = patched.model.manual_cast_dtype or patched.model.get_dtype()  # in which the model computes
    replaced, faces = options.get("patches_replace", {}).get("attn2", {}), dict(options.get(FACES, {}))
    for block, (key, value) in zip(blocks, keys_values, strict=True):
        if weights[block.depth] == 0:
            continue
        identity = attend(key, value, block.heads, weights[block.depth])
        identity.to(dtype)
        previous, alone = before(block.key, faces, replaced), block.key not in replaced
        patch = FacePatch(identity, window, region, previous, alone=alone)
        patched.set_model_attn2_replace(patch, *block.key)
        faces[block.key] = patch
    patched.model_options["transformer_options"][FACES] = faces


def give_own_patches(model: Any, clone: Any) -> None:
    """Called by the host when `model` is cloned. Another pack adds to a patch in place, and newer hosts share the objects in a
    model's options among its clones: each clone gets patches of its own, so that nothing leaks into the model that came in.
    """
    replaced = clone.model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn2", {})
    replaced.update({key: copy(patch) for key, patch in replaced.items() if isinstance(patch, FacePatch)})


Added = tuple[Callable[..., Tensor], dict[str, Any], SigmaWindow]  # another pack's callback, its arguments, when it acts


class Moving:
    """A patch with a face that follows the model, as does what it stands on: attributes `identity`, `region`, `previous`."""

    identity: IdentityAttention
    region: Region | None
    previous: Any

    def to(self, device_or_dtype: torch.device | torch.dtype) -> "Moving":
        """Called by the host when it moves the model, or works on several devices at once, one thread for each.

        Keys and values have a copy on each device, so the patch stays; one is made anew around a neighbour that moves.
        """
        if isinstance(device_or_dtype, torch.device):
            self.identity.to(device_or_dtype)
            if self.region is not None:
                self.region.forget(device_or_dtype)
        previous = self.previous.to(device_or_dtype) if hasattr(self.previous, "to") else self.previous
        if previous is self.previous:
            return self
        moved = copy(self)
        moved.previous = previous
        return moved


class FacePatch(Moving):
    """An attn2 replacement: the block's own attention (or whatever replaced it before us) plus the face.

    previous  what replaced this layer's attention before us.
    alone     nothing did; then what replaces the whole block's counts, whether it came before us or after.
    """

    def __init__(
        self,
        identity: IdentityAttention,
        window: SigmaWindow | None = None,
        region: Region | None = None,
        previous: Any = None,
        added: Iterable[Added] = (),
        alone: bool = True,
    ):
        self.identity, self.window, self.region, self.previous, self.alone = identity, window, region, previous, alone
        self.added = list(added)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Tensor:
        extra_options[APPLIED] = True
        return self._added(self._without_face(q, k, v, extra_options), q, k, v, extra_options)

    def onto(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Tensor:
        """The block's attention `out`, by whatever took our place, plus this face and ours before it."""
        if isinstance(self.previous, FacePatch):
            out = self.previous.onto(out, q, k, v, extra_options)
        return self._added(out, q, k, v, extra_options)

    def _added(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Tensor:
        call = chunks(extra_options, len(q))
        if self.window is None or self.window.open(call, extra_options["sigmas"]):
            region = self.region
            where = None if region is None else region.weights(out, extra_options["activations_shape"][-2:], call)
            out = self.identity.added_to(out, q, call.sides, call.latents, where)
        for callback, kwargs, window in self.added:
            if window.holds(extra_options["sigmas"]):
                out = out + callback(out, q, k, v, extra_options, **kwargs)
        return out

    def _without_face(self, q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Any:
        previous = self.previous
        if self.alone:
            previous = extra_options.get(BLOCKS, {}).get(extra_options.get("block"), previous)
        if previous is not None:
            return previous(q, k, v, extra_options)
        heads, precision = extra_options["n_heads"], extra_options["attn_precision"]
        return optimized_attention(q, k, v, heads, attn_precision=precision, transformer_options=extra_options)

    def add(self, callback: Callable[..., Tensor], **kwargs: Any) -> None:
        """IP-Adapter packs stack onto a slot that is taken by calling this; the callback returns what to add."""
        window = SigmaWindow(kwargs.get("sigma_start", float("inf")), kwargs.get("sigma_end", 0.0))
        self.added.append((callback, kwargs, window))

    def __copy__(self) -> "FacePatch":
        """Keys and values never change and are shared; what is added is not."""
        return FacePatch(self.identity, self.window, self.region, self.previous, self.added, self.alone)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FacePatch":
        return copy(self)  # hosts up to 0.8 copy a model's options deeply
