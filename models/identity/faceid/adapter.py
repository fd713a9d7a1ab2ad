"""A FaceID adapter: what a file holds, and the tokens, keys, values and LoRA that come out of it.

Source: IP-Adapter-FaceID, https://github.com/tencent-ailab/IP-Adapter; paper arXiv:2308.06721.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ....contract import FIELDS
from ....errors import FaceGenError, MissingClipVisionError, WrongClipVisionError
from ...face.embeds import FaceEmbeds
from ...face.packs.catalogue import RECOGNISERS
from ..adapter import IdentityAdapter, by_person
from ..blocks import CrossAttention
from ..raw_embedding import raw_tokens
from .projection import identity_tokens, structure_tokens
from .variant import METHOD, FaceIDVariant, recognise

CLIP_VISION_NAMES = {768: "ViT-B", 1024: "ViT-L", 1280: "ViT-H", 1664: "ViT-bigG"}
LORA_TARGETS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}


class FaceIDAdapter(IdentityAdapter):
    """An opened FaceID file. Raises UnreadableFileError, or NotAnAdapterError when it is a file of another kind."""

    method, pack, recogniser = METHOD, "buffalo_l", "w600k_r50"
    variant: FaceIDVariant

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.variant = recognise(self.file)
        self._lora: dict[str, Tensor] | None = None

    @torch.no_grad()
    def tokens(self, face_embeds: FaceEmbeds, s_scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Conditional and unconditional identity tokens, float32 [m, tokens, context_dim] each.

        m is 1 when the faces describe one person (their tokens are concatenated), or the number of faces when each
        belongs to its own latent. s_scale, in the contract's range, weighs the face-structure branch; identity tokens
        remain at 0. Raises WrongRecogniserError, MissingClipVisionError or WrongClipVisionError when the face embeds lack
        what the variant reads, FaceGenError when s_scale is out of range.
        """
        self.check(face_embeds, s_scale)
        cond, uncond = _weighed(self._kept_sides(face_embeds), s_scale)
        return cond, uncond

    @torch.no_grad()
    def keys_values(self, face_embeds: FaceEmbeds, s_scale: float = 1.0) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each block in the adapter's order, float32 [2, m, tokens, width]; side 0 conditional.

        They are linear in the tokens, so what is kept for a face serves every s_scale. Raises as `tokens` does.
        """
        self.check(face_embeds, s_scale)
        return [(_weighed(key, s_scale), _weighed(value, s_scale)) for key, value in self._kept(face_embeds)]

    def _sides(self, face_embeds: FaceEmbeds) -> Tensor:
        """What tokens are summed from, [1 or 2, 2, m, tokens, context_dim]: identity and, where s_scale acts, structure."""
        identity = face_embeds.identity if self.variant.raw_identity else face_embeds.normed_identity
        cond = self._project(identity, face_embeds.clip_hidden)
        uncond = self._project(torch.zeros_like(face_embeds.identity[:1]), face_embeds.clip_hidden_zero)
        return by_person(cond, uncond, face_embeds)

    def _project(self, identity: Tensor, clip_hidden: Tensor | None) -> Tensor:
        if self.variant.raw_identity:
            return raw_tokens(self.file, identity.float())[None]
        x = identity_tokens(self.file, identity.float())
        if clip_hidden is None or self.variant.clip_dim is None:
            return x[None]
        structure = structure_tokens(self.file, x, clip_hidden.float())
        return torch.stack([x, structure]) if self.variant.shortcut else structure[None]

    def check(self, face_embeds: FaceEmbeds, s_scale: float = 1.0) -> None:
        """Raises FaceGenError unless the adapter can read these face embeds, and s_scale is in its range."""
        if problem := FIELDS["s_scale"].problem(float(s_scale)):
            raise FaceGenError(problem)
        super().check(face_embeds)
        if face_embeds.recognisers & RECOGNISERS:  # an adapter may have been trained on a recogniser of its own
            face_embeds.require_recogniser(self.recogniser, self.pack)
        needed = self.variant.clip_dim
        if needed is None:
            return
        name = f"{self.file.path.name} ({self.variant.name})"
        model = f"a {CLIP_VISION_NAMES.get(needed, '')} CLIP vision model (width {needed})".replace("a  ", "a ")
        if face_embeds.clip_hidden is None:
            raise MissingClipVisionError(
                f"{name} also reads CLIP vision states, and these faces were embedded without them. It needs {model}."
            )
        given = face_embeds.clip_hidden.shape[-1]
        if given != needed:
            other = CLIP_VISION_NAMES.get(given, "one")
            raise WrongClipVisionError(f"{name} needs {model}, but the faces were embedded with {other} of width {given}.")

    def lora(self, blocks: list[CrossAttention], prefix: str = "") -> dict[str, Tensor]:
        """The adapter's own LoRA as "<prefix><module path>.lora_down.weight" / "….lora_up.weight"; {} if it has none.

        Its alpha equals its rank, so no alpha is stored: the factor is 1. The tensors are read once and kept.
        """
        if self._lora is None:
            lora = {name: self.file[name] for name in self.file if "_lora." in name}
            self.file.require_finite(lora.values())
            self._lora = lora
        named = {}
        for i, block in enumerate(blocks):
            for index, attention in ((2 * i, "attn1"), (2 * i + 1, "attn2")):
                for part, module in LORA_TARGETS.items():
                    for side in ("down", "up"):
                        tensor = self._lora.get(f"ip_adapter.{index}.{part}_lora.{side}.weight")
                        if tensor is not None:
                            named[f"{prefix}{block.path}.{attention}.{module}.lora_{side}.weight"] = tensor
        return named

    @cached_property
    def lora_digest(self) -> str:
        """Tells LoRAs apart by their numbers, so that a copy of a file, or its twin in another form, is the same."""
        digest = hashlib.sha256()
        for name in sorted(name for name in self.file if "_lora." in name)[:4]:
            digest.update(self.file[name].contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def _weighed(branches: Tensor, s_scale: float) -> Tensor:
    return branches[0] + s_scale * branches[1] if len(branches) == 2 else branches[0]
