"""Our FaceID adapter and attention inside diffusers' UNet."""

import torch.nn.functional as F
from diffusers import UNet2DConditionModel

from ..models.face.embeds import FaceEmbeds
from ..models.identity.attention import IdentityAttention
from ..models.identity.blocks import CrossAttention
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.identity.layer_weights import parse_layer_weights

FORWARD_ORDER = ("down_blocks", "mid_block", "up_blocks")
CFG_SIDES = (1, 0)  # diffusers' pipelines put the unconditional half of the batch first


def apply_faceid(
    unet: UNet2DConditionModel,
    adapter: FaceIDAdapter,
    embeds: FaceEmbeds,
    *,
    weight: float = 1.0,
    s_scale: float = 1.0,
    lora_strength: float = 1.0,
    layer_weights: str = "",
    sides: tuple[int, ...] = CFG_SIDES,
) -> None:
    """Make the UNet draw these faces, replacing whatever an earlier call put there.

    `sides` says for each chunk of the batch whether it is conditional (0) or not (1).
    Raises FaceGenError when the adapter doesn't fit the UNet or the embeddings.
    """
    blocks = cross_attention_blocks(unet)
    adapter.match(blocks, unet.config.cross_attention_dim)
    weights = parse_layer_weights(layer_weights, len(blocks))
    processors = dict(unet.attn_processors)
    for block, (key, value) in zip(blocks, adapter.keys_values(embeds, s_scale), strict=True):
        identity = IdentityAttention(key, value, block.heads, weight * weights[block.depth])
        processors[f"{block.path}.attn2.processor"] = FaceIDProcessor(identity, sides)
    apply_lora(unet, adapter, blocks, lora_strength)
    unet.set_attn_processor(processors)


def apply_lora(unet: UNet2DConditionModel, adapter: FaceIDAdapter, blocks: list[CrossAttention], strength: float) -> None:
    """The adapter's LoRA through diffusers' own loader, replacing another that was there before; loaded once."""
    lora = adapter.lora(blocks) if strength != 0 else {}
    loaded, name = list(getattr(unet, "peft_config", ())), f"faceid_{adapter.lora_digest[:16]}"
    if not lora or loaded != [name]:
        if loaded:
            unet.delete_adapters(loaded)
        if not lora:
            return
        renamed = {n.replace("lora_down", "lora_A").replace("lora_up", "lora_B"): tensor for n, tensor in lora.items()}
        unet.load_lora_adapter(renamed, prefix=None, adapter_name=name)
    unet.set_adapters(name, strength)


def cross_attention_blocks(unet: UNet2DConditionModel) -> list[CrossAttention]:
    """The UNet's cross-attention blocks in the published adapters' order: down, up, middle."""
    paths = [name.removesuffix(".attn2.processor") for name in unet.attn_processors if name.endswith(".attn2.processor")]
    order = sorted(paths, key=lambda path: FORWARD_ORDER.index(path.split(".")[0]))  # stable within a part
    attentions = {path: unet.get_submodule(f"{path}.attn2") for path in paths}
    return [
        CrossAttention((path,), path, attention.to_q.out_features, attention.heads, order.index(path))
        for path, attention in attentions.items()
    ]


class FaceIDProcessor:
    """A diffusers attention processor: plain cross-attention plus the face."""

    def __init__(self, identity: IdentityAttention, sides: tuple[int, ...]):
        self.identity, self.sides = identity, sides

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        q, k, v = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        heads = [t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v)]
        out = F.scaled_dot_product_attention(*heads, attn_mask=attention_mask).transpose(1, 2).flatten(2)
        return attn.to_out[0](out + self.identity(q, self.sides))
