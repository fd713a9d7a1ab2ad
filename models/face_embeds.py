"""Faces as numbers: what identifies a person, apart from any picture or model that made it."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .errors import FaceGenError

COMBINE = ("average", "concat", "one per image")


@dataclass(frozen=True, eq=False)  # tensors have no one truth value; a face is itself
class FaceEmbeds:
    """The embeddings of n faces.

    identity          float32 [n, 512]: ArcFace output as the recogniser gives it, not normalised.
    clip_hidden       float32 [n, 257, 1280] or None: penultimate CLIP vision states of the aligned RGB 224x224 crops.
    clip_hidden_zero  float32 [1, 257, 1280] or None: the same states of an all-zero normalised picture, which is what
                      the unconditional side of FaceID-Plus was trained on.
    faces             n dicts: bbox (x0, y0, x1, y1 in pixels), kps (5 points), confidence (0-1), model_pack.
    per_image         True: the n-th face belongs to the n-th latent; False: all faces describe one person.

    Raises FaceGenError when the shapes don't agree or a value is not finite.
    """

    identity: Tensor
    clip_hidden: Tensor | None = None
    clip_hidden_zero: Tensor | None = None
    faces: tuple[dict, ...] = field(default=())
    per_image: bool = False

    def __post_init__(self):
        if self.identity.ndim != 2 or len(self.identity) == 0:
            raise FaceGenError(f"Face embeddings must have the shape [n, 512], got {list(self.identity.shape)}.")
        if (self.clip_hidden is None) != (self.clip_hidden_zero is None):
            raise FaceGenError("clip_hidden and clip_hidden_zero belong together; only one of them was given.")
        if self.clip_hidden is not None and len(self.clip_hidden) != len(self.identity):
            raise FaceGenError(f"{len(self.identity)} identities but {len(self.clip_hidden)} CLIP vision states.")
        for name in ("identity", "clip_hidden", "clip_hidden_zero"):
            tensor = getattr(self, name)
            if tensor is not None and not torch.isfinite(tensor).all():
                raise FaceGenError(f"Face embeddings hold NaN or infinite values ({name}). Make them again from the photo.")

    def __len__(self) -> int:
        return len(self.identity)

    @property
    def normed_identity(self) -> Tensor:
        """Identity vectors of length 1, [n, 512]."""
        return self.identity / self.identity.norm(dim=-1, keepdim=True)

    def combined(self, how: str) -> "FaceEmbeds":
        """These n faces as one person ("average", "concat") or as n people ("one per image").

        average: the mean of the normalised identities, given back the mean length, and the mean of the CLIP states.
        concat: kept apart; their FaceID tokens are concatenated, as the method does with several photos.
        """
        if how not in COMBINE:
            raise FaceGenError(f"Unknown way to combine faces: {how!r}. Choose one of: {', '.join(COMBINE)}.")
        if how != "average":
            return replace(self, per_image=how == "one per image")
        if len(self) == 1:
            return replace(self, per_image=False)
        mean = self.normed_identity.mean(dim=0, keepdim=True)
        length = self.identity.norm(dim=-1).mean()
        hidden = None if self.clip_hidden is None else self.clip_hidden.mean(dim=0, keepdim=True)
        return replace(self, identity=mean / mean.norm() * length, clip_hidden=hidden, per_image=False)
