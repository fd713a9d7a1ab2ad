"""Our identity adapters and attention inside diffusers' UNet: FaceID with its LoRA, InstantID, and PuLID for SDXL."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from ..models.identity.attention import IdentityAttention
from ..models.identity.blocks import CrossAttention
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.identity.instantid.adapter import InstantIDAdapter
from ..models.identity.pulid.adapter import PulidAdapter
from ..models.identity.pulid.orthogonal import V2, OrthogonalAttention
from ..models.identity.shown import Shown, weighed

FORWARD_ORDER = ("down_blocks", "mid_block", "up_blocks")
CFG_SIDES = (1, 0)  # the unconditional half of the batch comes first
INSTANTID_WEIGHT = PULID_WEIGHT = 0.8  # that their authors use, PuLID's for SDXL
Attend = Callable[[Tensor, Tensor, int], IdentityAttention]


def apply_faceid(
    unet: UNet2DConditionModel,
    adapter: FaceIDAdapter,
    shown: Sequence[Shown],
    *,
    lora_strength: float = 1.0,
    sides: tuple[int, ...] = CFG_SIDES,
) -> None:
    """Give the UNet's attention these faces and the adapter's LoRA, replacing whatever an earlier call put there.

    `sides` says for each chunk of the batch whether it is conditional (0) or not (1).
    Raises FaceGenError when the adapter doesn't fit the UNet or the face embeds.
    """
    blocks = cross_attention_blocks(unet)
    adapter.match(blocks, unet.config.cross_attention_dim)
    device, dtype = unet.device, unet.dtype  # looked up among all of its parameters
    lora = {name: tensor.to(device, dtype) for name, tensor in adapter.lora(blocks).items()} if lora_strength else {}
    keys_values = [adapter.keys_values(one.face_embeds, one.s_scale) for one in shown]
    _set_processors(unet, blocks, weighed(shown, keys_values, _depths(blocks)), sides, lora, lora_strength)


def apply_instantid(
    unet: UNet2DConditionModel, adapter: InstantIDAdapter, shown: Sequence[Shown], *, sides: tuple[int, ...] = CFG_SIDES
) -> None:
    """Give the UNet's attention these faces, replacing whatever an earlier call put there; `sides` as in `apply_faceid`.

    Raises FaceGenError when the adapter doesn't fit the UNet or the face embeds.
    """
    _set_processors(unet, *_matched(unet, adapter, shown), sides, {}, 0.0)


def apply_pulid(
    unet: UNet2DConditionModel,
    adapter: PulidAdapter,
    shown: Sequence[Shown],
    *,
    projection: str = V2,
    num_zero: int = 0,
    sides: tuple[int, ...] = CFG_SIDES,
) -> None:
    """As `apply_instantid`; for `projection` and `num_zero` see OrthogonalAttention."""
    attend = partial(OrthogonalAttention, projection=projection, num_zero=num_zero)
    _set_processors(unet, *_matched(unet, adapter, shown), sides, {}, 0.0, attend)


def _matched(
    unet: UNet2DConditionModel, adapter: InstantIDAdapter | PulidAdapter, shown: Sequence[Shown]
) -> tuple[list[CrossAttention], list[tuple[Tensor, Tensor]]]:
    """The UNet's blocks, and for each the keys and weighed values of all faces."""
    blocks = cross_attention_blocks(unet)
    adapter.match(blocks, unet.config.cross_attention_dim)
    return blocks, weighed(shown, [adapter.keys_values(one.face_embeds) for one in shown], _depths(blocks))


def apply_nobody(unet: UNet2DConditionModel) -> None:
    """Take away whatever face an earlier call put there: the UNet's attention is diffusers' own again."""
    unet.set_attn_processor(AttnProcessor2_0())


def _set_processors(
    unet: UNet2DConditionModel,
    blocks: list[CrossAttention],
    keys_values: Sequence[tuple[Tensor, Tensor]],
    sides: tuple[int, ...],
    lora: Mapping[str, Tensor],
    lora_strength: float,
    attend: Attend = IdentityAttention,
) -> None:
    processors = dict(unet.attn_processors)
    for block, (key, value) in zip(blocks, keys_values, strict=True):
        identity = attend(key, value, block.heads)
        for attention, face in (("attn1", None), ("attn2", identity)):
            path = f"{block.path}.{attention}"
            own = {name.removeprefix(f"{path}."): tensor for name, tensor in lora.items() if name.startswith(f"{path}.")}
            processors[f"{path}.processor"] = IdentityProcessor(own, lora_strength, face, sides)
    unet.set_attn_processor(processors)


def _depths(blocks: Sequence[CrossAttention]) -> list[int]:
    return [block.depth for block in blocks]


def cross_attention_blocks(unet: UNet2DConditionModel) -> list[CrossAttention]:
    """The UNet's cross-attention blocks in the published adapters' order: down, up, middle."""
    paths = [name.removesuffix(".attn2.processor") for name in unet.attn_processors if name.endswith(".attn2.processor")]
    order = sorted(paths, key=lambda path: FORWARD_ORDER.index(path.split(".")[0]))  # stable within a part
    attentions = {path: unet.get_submodule(f"{path}.attn2") for path in paths}
    return [
        CrossAttention((path,), path, attention.to_q.out_features, attention.heads, order.index(path))
        for path, attention in attentions.items()
    ]


class IdentityProcessor:
    """A diffusers attention processor: plain attention with the adapter's LoRA, plus the face; either may be missing.

    lora      "<layer>.lora_down.weight" and "….lora_up.weight" for each layer that has one, alpha equal to the rank.
    identity  the face's keys and values; None in self-attention.
    sides     for each chunk of the batch 0 if it is conditional, 1 if unconditional.
    """

    def __init__(self, lora: Mapping[str, Tensor], strength: float, identity: IdentityAttention | None, sides: tuple[int, ...]):
        self.lora, self.strength, self.identity, self.sides = lora, strength, identity, sides

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = self._linear("to_q", attn.to_q, hidden_states)
        k, v = self._linear("to_k", attn.to_k, context), self._linear("to_v", attn.to_v, context)
        query, key, value = (t.view(*t.shape[:2], attn.heads, -1).transpose(1, 2) for t in (q, k, v))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask).transpose(1, 2).flatten(2)
        if self.identity is not None:
            out = self.identity.added_to(out, q, self.sides)
        return self._linear("to_out.0", attn.to_out[0], out)

    def _linear(self, name: str, layer: nn.Module, x: Tensor) -> Tensor:
        """The layer and, beside it, its low-rank addition: less work than changed weights, and the weights stay as they are."""
        down, up = (self.lora.get(f"{name}.lora_{part}.weight") for part in ("down", "up"))
        plain: Tensor = layer(x)
        return plain if down is None or up is None else plain + F.linear(F.linear(x, down), up) * self.strength
