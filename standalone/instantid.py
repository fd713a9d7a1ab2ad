"""InstantID's ControlNet while diffusers' UNet samples: it reads the face's tokens where others read the text."""

from typing import Any

import torch
from torch import Tensor

from ..models.face.embeds import FaceEmbeds
from ..models.face.keypoints import are_placed, as_in_photo, draw_keypoints, faces_to_draw, fitted
from ..models.identity.instantid.adapter import InstantIDAdapter
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
    hint      RGB [height, width, 3] (0-1), in the size of the pictures.
    strength  factor on all that it adds.
    sides     for each chunk of the batch 0 if it is conditional, 1 if unconditional.
    """

    def __init__(
        self,
        network: Any,
        adapter: InstantIDAdapter,
        face_embeds: FaceEmbeds,
        hint: Tensor,
        strength: float = STRENGTH,
        sides: tuple[int, ...] = CFG_SIDES,
    ):
        self.network, self.strength, self.sides = network, strength, sides
        tokens = adapter.tokens(face_embeds)
        self.tokens = [tokens[side].to(network.device, network.dtype) for side in sides]
        self.hint = hint.movedim(-1, 0)[None].to(network.device, network.dtype)

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
