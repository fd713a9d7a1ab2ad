"""FaceID on a ComfyUI model: its attention and its LoRA."""

from typing import Any

import comfy.sd
from torch import Tensor

from .....models.face.embeds import FaceEmbeds
from .....models.identity.blocks import CrossAttention
from .....models.identity.faceid.adapter import FaceIDAdapter
from .....models.identity.layer_weights import parse_layer_weights
from ...reports import warn
from ..attention_patch import add_face
from ..mask_region import Region
from ..unet_blocks import matching_blocks

LORA_ATTACHMENT = "facegen.faceid_lora"


def apply_faceid(
    model: Any,
    adapter: FaceIDAdapter,
    face_embeds: FaceEmbeds,
    *,
    weight: float = 1.0,
    s_scale: float = 1.0,
    lora_strength: float = 1.0,
    percent_range: tuple[float, float] = (0.0, 1.0),
    layer_weights: str = "",
    mask: Tensor | None = None,
) -> Any:
    """A clone of `model` (a ModelPatcher) that generates the faces in `face_embeds`.

    percent_range: where in the sampling the face acts, from 0 to 1. mask: where in the picture, [H, W] or [B, H, W] (0-1).
    Raises FaceGenError when the adapter doesn't fit the model or the face embeds, or a setting is out of range.
    """
    blocks = matching_blocks(model, adapter)
    weights = [weight * share for share in parse_layer_weights(layer_weights, len(blocks))]
    keys_values = adapter.keys_values(face_embeds, s_scale)
    region = Region.of(mask)
    if s_scale != 1 and not adapter.variant.shortcut:
        warn(
            f"s_scale {s_scale:g} has no effect: {adapter.file.path.name} is {adapter.variant.name}, and only PlusV2 has a "
            "structure branch to scale."
        )
    if region is not None and region.is_empty:
        warn("the mask is black all over, so neither the face nor its LoRA is applied.")
        return model.clone()
    patched = apply_lora(model, adapter, blocks, lora_strength)
    add_face(patched, blocks, keys_values, weights, percent_range, region)
    return patched


def apply_lora(model: Any, adapter: FaceIDAdapter, blocks: list[CrossAttention], strength: float) -> Any:
    """A clone with the adapter's LoRA on it, by ComfyUI's own LoRA loader.

    The LoRA belongs to the adapter, not to the person: a second face by the same adapter, be it in another file, doesn't
    add it again, and the first strength counts.
    """
    applied = model.get_attachment(LORA_ATTACHMENT) or {}
    key = adapter.lora_digest
    if key in applied:
        if applied[key] != strength:
            warn(
                f"the LoRA of {adapter.file.path.name} is on this model at {applied[key]:g} already; the second face's "
                f"lora_strength {strength:g} is not used."
            )
        return model.clone()
    lora = adapter.lora(blocks, "diffusion_model.") if strength != 0 else {}
    if not lora:
        return model.clone()
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, strength, 0)
    patched.set_attachments(LORA_ATTACHMENT, {**applied, key: strength})
    return patched
