"""A FaceID adapter: what a file holds, and the tokens, keys, values and LoRA that come out of it.

Projection runs on the CPU in float32, once per identity; only small keys and values live through sampling.
Source: IP-Adapter-FaceID, https://github.com/tencent-ailab/IP-Adapter; paper arXiv:2308.06721.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import FaceGenError
from .face_embeds import FaceEmbeds
from .faceid_file import FaceIDFile
from .faceid_projection import identity_tokens, missing_weights, structure_tokens

IDENTITY_DIM = 512
S_SCALE_RANGE = (0.0, 2.0)
BASES = {768: "SD1.5", 2048: "SDXL"}
CLIP_VISION_NAMES = {768: "ViT-B", 1024: "ViT-L", 1280: "ViT-H", 1664: "ViT-bigG"}
LORA_TARGETS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}

# Plus v1 and v2 have the same tensor names and shapes; only v2 adds its structure branch to the identity tokens. v1 was
# published once, for SD1.5, and is known by its digest.
PLUS_V1_SHA256 = "252fb53e0d018489d9e7f9b9e2001a52ff700e491894011ada7cfb471e0fadf2"


@dataclass(frozen=True)
class Variant:
    """The kind of adapter in a file.

    name         such as "faceid-plusv2_sd15".
    context_dim  width of the UNet's text context: 768 for SD1.5, 2048 for SDXL.
    tokens       identity tokens per face.
    clip_dim     width of the CLIP vision states it reads; None without a structure branch.
    shortcut     True when the structure branch is scaled by s_scale and added to the identity tokens.
    """

    name: str
    context_dim: int
    tokens: int
    clip_dim: int | None = None
    shortcut: bool = False

    @property
    def base(self) -> str:
        return base_name(self.context_dim)


@dataclass(frozen=True)
class CrossAttention:
    """One cross-attention block of a UNet, as the host names it.

    key      how the host addresses the block.
    path     module path of its transformer block, e.g. "input_blocks.1.1.transformer_blocks.0".
    width    channels of its queries.
    depth    position along the forward pass, from 0.
    """

    key: tuple
    path: str
    width: int
    depth: int


class FaceIDAdapter:
    """An opened adapter file. Raises FaceGenError when it isn't a FaceID adapter."""

    def __init__(self, path: str | Path):
        self.file = FaceIDFile(path)
        self.variant = _variant(self.file)
        self._lora: dict[str, Tensor] | None = None

    @property
    def widths(self) -> list[int]:
        """Query channels of the blocks the adapter was trained for, in its own order: down, up, middle."""
        return [self.file[f"ip_adapter.{2 * i + 1}.to_k_ip.weight"].shape[0] for i in range(self.blocks)]

    @property
    def blocks(self) -> int:
        return sum(name.endswith(".to_k_ip.weight") for name in self.file)

    @torch.no_grad()
    def tokens(self, embeds: FaceEmbeds, s_scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Conditional and unconditional identity tokens, float32 [m, tokens, context_dim] each.

        m is 1 when the faces describe one person (their tokens are concatenated), or the number of faces when each
        belongs to its own latent. s_scale (0-2) weighs the face-structure branch; identity tokens remain at 0.
        Raises FaceGenError when the embeddings lack what the variant reads.
        """
        self._check(embeds, s_scale)
        cond = self._project(embeds.normed_identity, embeds.clip_hidden, s_scale)
        uncond = self._project(torch.zeros_like(embeds.identity[:1]), embeds.clip_hidden_zero, s_scale)
        uncond = uncond.expand_as(cond)
        if embeds.per_image:
            return cond, uncond
        return cond.flatten(0, 1)[None], uncond.flatten(0, 1)[None]

    def _project(self, identity: Tensor, clip_hidden: Tensor | None, s_scale: float) -> Tensor:
        x = identity_tokens(self.file, identity.float())
        if self.variant.clip_dim is None:
            return x
        structure = structure_tokens(self.file, x, clip_hidden.float())
        return x + s_scale * structure if self.variant.shortcut else structure

    def _check(self, embeds: FaceEmbeds, s_scale: float) -> None:
        low, high = S_SCALE_RANGE
        if not low <= s_scale <= high:
            raise FaceGenError(f"s_scale must be between {low:g} and {high:g}, got {s_scale:g}.")
        if embeds.identity.shape[1] != IDENTITY_DIM:
            raise FaceGenError(f"FaceID reads {IDENTITY_DIM}-wide face embeddings, got {embeds.identity.shape[1]}.")
        needed = self.variant.clip_dim
        if needed is None:
            return
        model = f"a {CLIP_VISION_NAMES.get(needed, '')} CLIP vision model (width {needed})".replace("a  ", "a ")
        if embeds.clip_hidden is None:
            raise FaceGenError(
                f"{self.file.path.name} ({self.variant.name}) also reads CLIP vision states, and these faces were embedded "
                f"without them. Connect {model} to clip_vision of the Embed Face node."
            )
        given = embeds.clip_hidden.shape[-1]
        if given != needed:
            raise FaceGenError(
                f"{self.file.path.name} ({self.variant.name}) needs {model}, but the faces were embedded with "
                f"{CLIP_VISION_NAMES.get(given, 'one')} of width {given}. Change the file in Load CLIP Vision."
            )

    @torch.no_grad()
    def keys_values(self, tokens: tuple[Tensor, Tensor], block: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one block (in the adapter's order), float32 [2, m, tokens, width]; side 0 conditional."""
        both = torch.stack(tokens)
        name = f"ip_adapter.{2 * block + 1}"
        key, value = (self.file[f"{name}.{part}_ip.weight"].float() for part in ("to_k", "to_v"))
        return both @ key.T, both @ value.T

    def lora(self, blocks: list[CrossAttention], prefix: str = "") -> dict[str, Tensor]:
        """The adapter's own LoRA as "<prefix><module path>.lora_down.weight" / "….lora_up.weight"; {} if it has none.

        Its alpha equals its rank, so no alpha is stored: the factor is 1. The tensors are read once and kept.
        """
        if self._lora is None:
            self._lora = {name: self.file[name] for name in self.file if "_lora." in name}
        named = {}
        for i, block in enumerate(blocks):
            for index, attention in ((2 * i, "attn1"), (2 * i + 1, "attn2")):
                for part, module in LORA_TARGETS.items():
                    for side in ("down", "up"):
                        tensor = self._lora.get(f"ip_adapter.{index}.{part}_lora.{side}.weight")
                        if tensor is not None:
                            named[f"{prefix}{block.path}.{attention}.{module}.lora_{side}.weight"] = tensor
        return named

    def match(self, blocks: list[CrossAttention], context_dim: int) -> None:
        """Raise FaceGenError unless the UNet's cross-attention blocks are those the adapter was trained for."""
        if context_dim == self.variant.context_dim and [b.width for b in blocks] == self.widths:
            return
        raise FaceGenError(
            f"{self.file.path.name} is a {self.variant.name} adapter, made for {self.variant.base} ({self.blocks} "
            f"cross-attention blocks, context width {self.variant.context_dim}), but the model is "
            f"{base_name(context_dim)} ({len(blocks)} blocks, context width {context_dim}). Choose the FaceID file that "
            "fits the checkpoint in Load FaceID, or another checkpoint."
        )


def base_name(context_dim: int) -> str:
    return BASES.get(context_dim, "of another base")


def _variant(file: FaceIDFile) -> Variant:
    """Recognise an adapter by its tensors' names and shapes (and Plus v1 by its digest), never by the file's name."""
    blocks = max(1, sum(name.endswith(".to_k_ip.weight") for name in file))
    pairs = [f"ip_adapter.{2 * i + 1}.{part}_ip.weight" for i in range(blocks) for part in ("to_k", "to_v")]
    if missing := [*missing_weights(file), *(name for name in pairs if name not in file)]:
        raise FaceGenError(
            f"{file.path} is not a FaceID adapter: it lacks "
            f"{', '.join(missing[:4])}{', …' if len(missing) > 4 else ''}. It holds {len(file)} tensors"
            f"{': ' + ', '.join(sorted(file)[:4]) + ', …' if len(file) else ''}. Choose a file such as "
            "ip-adapter-faceid-plusv2_sd15.bin from the models/ipadapter folder."
        )
    if (width := file["image_proj.proj.0.weight"].shape[1]) != IDENTITY_DIM:
        raise FaceGenError(f"{file.path} reads {width}-wide embeddings; FaceID adapters read {IDENTITY_DIM}-wide ones.")
    context_dim = file["image_proj.norm.weight"].shape[0]
    tokens = file["image_proj.proj.2.weight"].shape[0] // context_dim
    suffix = {768: "sd15", 2048: "sdxl"}.get(context_dim, f"context{context_dim}")
    if "image_proj.perceiver_resampler.proj_in.weight" in file:
        clip_dim = file["image_proj.perceiver_resampler.proj_in.weight"].shape[1]
        v1 = context_dim == 768 and file.path.suffix == ".bin" and file.sha256() == PLUS_V1_SHA256
        name = "faceid-plus" if v1 else "faceid-plusv2"
        return Variant(f"{name}_{suffix}", context_dim, tokens, clip_dim, shortcut=not v1)
    name = "faceid" if any("_lora." in n for n in file) else "faceid-portrait"
    return Variant(f"{name}_{suffix}", context_dim, tokens)
