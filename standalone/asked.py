"""What an Engine is asked for, and what it gives."""

import secrets
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..contract import FaceGenRequest
from ..models.face.embeds import FaceEmbeds
from ..models.identity.shown import Shown
from ..models.style import FaceStyle, find_style


@dataclass(frozen=True)
class Result:
    """images: RGB [samples, H, W, 3] (0-1), unsafe ones redacted; request: as it was run, with its seed; adapter: its kind."""

    images: Tensor
    request: FaceGenRequest
    flagged: list[bool]
    adapter: str


@dataclass(frozen=True)
class Asked:
    """A request, and the face that it is about; None where there is none."""

    request: FaceGenRequest
    face_embeds: FaceEmbeds | None

    def with_seed(self) -> "Asked":
        """With one of its own, if it has none."""
        seed = secrets.randbits(32) if self.request.seed is None else self.request.seed
        return replace(self, request=replace(self.request, seed=seed))

    @cached_property
    def style(self) -> FaceStyle:
        """Raises FaceGenError if there is none of that name."""
        return find_style(self.request.style)

    def shown(self, weight: float) -> list[Shown]:
        """The face, where there is one, in the style's measure of `weight`."""
        if self.face_embeds is None:
            return []
        style, asked = self.style, self.request
        return [Shown(self.face_embeds, weight * style.weight, asked.s_scale, style.layer_weights, asked.samples)]

    def generators(self) -> list[torch.Generator]:
        """One for all of its pictures."""
        return [torch.Generator("cpu").manual_seed(self.request.seed or 0)] * self.request.samples


def shape_of(request: FaceGenRequest) -> tuple[float, ...]:
    """What requests that are sampled together have in common: size, steps and guidance."""
    return request.width, request.height, request.num_inference_steps, request.guidance_scale
