"""InstantID's ControlNet while diffusers' UNet samples: it reads the face's tokens where others read the text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.face.embeds import FaceEmbeds
from ..models.face.keypoints import are_placed, as_in_photo, draw_keypoints, faces_to_draw, fitted
from ..models.identity.instantid.adapter import InstantIDAdapter
from ..models.identity.shown import Shown, joined
from .identity import CFG_SIDES

STRENGTH = 0.8  # that its authors use


def hint_image(face_embeds: FaceEmbeds, width: int, height: int) -> Tensor:
    """The face's five points, RGB [height, width, 3] (0-1): where they are in the photo, as far as that is known, else in the
    middle. Raises NoKeypointsError."""
    faces = faces_to_draw(face_embeds)[0]
    place = as_in_photo if are_placed(faces) else fitted
    return draw_keypoints(place(faces, width, height), width, height)


class FaceControl:
    """The Control of a sampling.

    network   diffusers' ControlNetModel, for the UNet that it acts on.
    shown     whose tokens it reads; their weights are those of the attention.
    hints     of each of these RGB [height, width, 3] (0-1), in the size of the pictures.
    strength  factor on all that it adds.
    sides     for each chunk of the batch 0 if it is conditional, 1 if unconditional.
    """

    def __init__(
        self,
        network: Any,
        adapter: InstantIDAdapter,
        shown: Sequence[Shown],
        hints: Sequence[Tensor],
        strength: float = STRENGTH,
        sides: tuple[int, ...] = CFG_SIDES,
    ):
        self.network, self.strength, self.sides = network, strength, sides
        tokens = [adapter.tokens(one.face_embeds) for one in shown]
        self.tokens = [self._placed(joined(shown, [each[side] for each in tokens])) for side in sides]
        hint = self._placed(joined(shown, [hint.movedim(-1, 0)[None] for hint in hints]))
        self.hint = hint if len(hint) == 1 else torch.cat([hint] * len(sides))

    def __call__(self, latents: Tensor, time: Tensor, added: dict[str, Tensor] | None) -> dict[str, Any]:
        """What to add inside the UNet, as its arguments."""
        rows = len(latents)
        down, middle = self.network(
            latents,
            time,
            encoder_hidden_states=torch.cat([tokens.expand(rows // len(self.sides), -1, -1) for tokens in self.tokens]),
            controlnet_cond=self.hint.expand(rows, -1, -1, -1),
            conditioning_scale=self.strength,
            added_cond_kwargs=added,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.network.device, self.network.dtype)
