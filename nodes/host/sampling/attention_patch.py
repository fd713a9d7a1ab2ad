"""FaceID on a ComfyUI model: which blocks it has, what is patched, and when the patch acts."""

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import comfy.sd
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import CallbacksMP
from torch import Tensor

from ....errors import FaceGenError
from ....models.face.embeds import FaceEmbeds
from ....models.identity.attention import IdentityAttention
from ....models.identity.blocks import CrossAttention
from ....models.identity.faceid.adapter import FaceIDAdapter
from ....models.identity.layer_weights import parse_layer_weights
from ..reports import warn
from .conditionings import KEY, WINDOWS, watch
from .mask_region import Region
from .neighbours import APPLIED, BLOCKS, FACES, before
from .rows import Chunks, Options, chunks

LORA_ATTACHMENT = "facegen.faceid_lora"
FORWARD_ORDER = ("input", "middle", "output")


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
    unet = _unet(model)
    blocks = cross_attention_blocks(unet)
    adapter.match(blocks, _context_dim(unet, blocks))
    weights = parse_layer_weights(layer_weights, len(blocks))
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
    watch(patched)
    if not patched.get_callbacks(CallbacksMP.ON_CLONE, KEY):
        patched.add_callback_with_key(CallbacksMP.ON_CLONE, KEY, give_own_patches)
    window = SigmaWindow.between(patched, *percent_range)
    options = patched.model_options["transformer_options"]
    if window is not None:
        options[WINDOWS] = (*options.get(WINDOWS, ()), window.range)
    dtype = model.model.manual_cast_dtype or model.model.get_dtype()  # in which the model computes
    replaced, faces = options.get("patches_replace", {}).get("attn2", {}), dict(options.get(FACES, {}))
    for block, (key, value) in zip(blocks, keys_values, strict=True):
        if weight * weights[block.depth] == 0:
            continue
        identity = IdentityAttention(key, value, block.heads, weight * weights[block.depth])
        identity.to(dtype)
        previous, alone = before(block.key, faces, replaced), block.key not in replaced
        patch = FaceIDPatch(identity, window, region, previous, alone=alone)
        patched.set_model_attn2_replace(patch, *block.key)
        faces[block.key] = patch
    patched.model_options["transformer_options"][FACES] = faces
    return patched


def give_own_patches(model: Any, clone: Any) -> None:
    """Called by the host when `model` is cloned. Another pack adds to a patch in place, and newer hosts share the objects in a
    model's options among its clones: each clone gets patches of its own, so that nothing leaks into the model that came in.
    """
    replaced = clone.model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn2", {})
    replaced.update({key: copy(patch) for key, patch in replaced.items() if isinstance(patch, FaceIDPatch)})


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


def _unet(model: Any) -> Any:
    unet = model.model.diffusion_model
    if not all(hasattr(unet, name) for name in ("input_blocks", "middle_block", "output_blocks")):
        raise FaceGenError(
            f"FaceID works on SD1.5 and SDXL models; this one is a {type(unet).__name__}. Connect a model from such a "
            "checkpoint to `model`: change the file in Load Checkpoint."
        )
    return unet


def cross_attention_blocks(unet: Any) -> list[CrossAttention]:
    """The UNet's cross-attention blocks in the published adapters' order: input, output, middle."""
    parts: list[tuple[tuple[str, int], str, Any]]
    parts = [(("input", i), f"input_blocks.{i}", block) for i, block in enumerate(unet.input_blocks)]
    parts += [(("output", i), f"output_blocks.{i}", block) for i, block in enumerate(unet.output_blocks)]
    parts += [(("middle", 0), "middle_block", unet.middle_block)]
    found = {
        (*key, index): (f"{path}.{place}.transformer_blocks.{index}", transformer.attn2)
        for key, path, block in parts
        for place, layer in enumerate(block or ())
        for index, transformer in enumerate(getattr(layer, "transformer_blocks", ()))
        if transformer.attn2 is not None
    }
    forward = sorted(found, key=lambda key: (FORWARD_ORDER.index(key[0]), *key[1:]))
    return [
        CrossAttention(key, path, attention.to_q.out_features, attention.heads, forward.index(key))
        for key, (path, attention) in found.items()
    ]


def _context_dim(unet: Any, blocks: list[CrossAttention]) -> int:
    return unet.get_submodule(f"{blocks[0].path}.attn2.to_k").in_features if blocks else 0


class SigmaWindow:
    """The part of the sampling in which FaceID acts."""

    def __init__(self, start: float, end: float):
        self.range = (start, end)
        self._held: tuple[Tensor | None, bool] = (None, False)  # replaced as a whole: several devices may ask at once

    @classmethod
    def between(cls, model: Any, start_percent: float, end_percent: float) -> "SigmaWindow | None":
        """None for the whole sampling, which then costs nothing."""
        if start_percent <= 0 and end_percent >= 1:
            return None
        sampling = model.get_model_object("model_sampling")
        return cls(sampling.percent_to_sigma(start_percent), sampling.percent_to_sigma(end_percent))

    def open(self, call: Chunks, sigmas: Tensor) -> bool:
        """Whether this step lies in it. A sampler's call knows; else sigma is read from the device, once per step."""
        return self.range not in call.closed if call.closed is not None else self.holds(sigmas)

    @torch.compiler.disable  # a compiled model would be compiled anew for each step's sigma
    def holds(self, sigmas: Tensor) -> bool:
        """Whether the first of these sigmas lies in it; they are one tensor for all blocks of a step."""
        known, held = self._held
        if sigmas is not known:
            start, end = self.range
            held = end <= float(sigmas[0]) <= start
            self._held = (sigmas, held)
        return held


Added = tuple[Callable[..., Tensor], dict[str, Any], SigmaWindow]  # another pack's callback, its arguments, when it acts


class FaceIDPatch:
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
        if isinstance(self.previous, FaceIDPatch):
            out = self.previous.onto(out, q, k, v, extra_options)
        return self._added(out, q, k, v, extra_options)

    def _added(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Tensor:
        call = chunks(extra_options, len(q))
        if self.window is None or self.window.open(call, extra_options["sigmas"]):
            face = self.identity(q, call.sides, call.latents)
            if self.region is not None:
                face = face * self.region.weights(face, extra_options["activations_shape"][-2:], call)
            out = out + face
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

    def to(self, device_or_dtype: torch.device | torch.dtype) -> "FaceIDPatch":
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

    def __copy__(self) -> "FaceIDPatch":
        """Keys and values never change and are shared; what is added is not."""
        return FaceIDPatch(self.identity, self.window, self.region, self.previous, self.added, self.alone)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FaceIDPatch":
        return copy(self)  # hosts up to 0.8 copy a model's options deeply
