"""A ControlNet that reads a face in place of the text, beside others in the chain that go on reading the text.

ComfyUI runs the network; here is what it is given: for each row of a call the tokens of its face and side, and the part of
the hint image that the row generates. What it gives is kept inside the face's mask.
"""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import comfy.controlnet
import comfy.utils
import torch
from torch import Tensor

from ..reports import warn
from .conditionings import call_of
from .mask_region import Region
from .neighbours import FACES
from .rows import Chunks, Crop, Options
from .windows import Lines

Control = dict[str, list[Tensor | None]]  # the host's: what is added to the UNet's blocks
Draw = Callable[[int, int], Tensor]  # width, height in pixels -> pictures [n, height, width, 3] (0-1)
KEPT = 16  # hints and layouts of tokens; a sampling has a few, windows that move in each step would have ever more


class Hint:
    """The hint image of each latent, as a call needs it: whole or cut, for each row or one for all.

    draw  gives it in any size: one picture for all latents, or the n-th for the n-th latent.
    """

    def __init__(self, draw: Draw):
        self.draw = draw

    @classmethod
    def of(cls, pictures: Tensor) -> "Hint":
        """Of pictures [n, H, W, 3], resized as ComfyUI resizes a ControlNet's."""
        channels_first = pictures.movedim(-1, 1)

        def resized(width: int, height: int) -> Tensor:
            made: Tensor = comfy.utils.common_upscale(channels_first, width, height, "nearest-exact", "center")
            return made.movedim(1, -1)

        return cls(resized)

    def rows(self, call: Chunks, picture: tuple[int, int], pixels: int) -> Tensor:
        """[1 or rows, 3, h, w] of a call. picture: height and width in latent pixels, each of which is `pixels` wide."""
        height, width = picture
        whole = self.draw(width * pixels, height * pixels).movedim(-1, 1)
        if call.lines is not None:
            whole = _taken(whole, call.lines, pixels)
        cut = {crop: _cut(whole, crop, pixels) for crop in dict.fromkeys(call.crops)}
        if len(whole) == 1 and len(cut) == 1:
            return cut[call.crops[0]]
        size = len(call.latents) // len(call.crops)
        of_rows = [(cut[call.crops[row // size]], number) for row, number in enumerate(call.latents)]
        return torch.stack([each[number % len(each)] for each, number in of_rows])


def _taken(whole: Tensor, lines: Lines, pixels: int) -> Tensor:
    axis = lines.axis + whole.ndim
    numbers = [pixels * line + pixel for line in lines.numbers for pixel in range(pixels)]
    return whole.index_select(axis, torch.tensor(numbers, device=whole.device))


def _cut(whole: Tensor, crop: Crop | None, pixels: int) -> Tensor:
    if crop is None:
        return whole
    height, width = (side // pixels for side in whole.shape[-2:])
    y0, y1, x0, x1 = (round(share * side) * pixels for share, side in zip(crop, (height, height, width, width), strict=True))
    return whole[..., y0:y1, x0:x1]


class FaceControl(comfy.controlnet.ControlBase):
    """Stands in a conditioning like any ControlNet of the host, with those that were there before it as its previous ones.

    net     the host's ControlNet, a copy of our own: strength and percent range are set on it.
    tokens  float32 [2, n, tokens, width]: side 0 conditional, 1 unconditional; n faces, one for all or one per latent.
    region  where in the picture it acts; None: everywhere.
    lonely  what to say, once, when the model beside it was given no face, as it may be meant; "": nothing.
    """

    def __init__(self, net: Any, tokens: Tensor, hint: Hint, region: Region | None = None, lonely: str = ""):
        super().__init__()
        self.net, self.tokens, self.hint, self.region, self.lonely = net, tokens, hint, region, lonely
        self.compression_ratio, self.extra_hooks = net.compression_ratio, net.extra_hooks
        self._kept: dict[tuple[object, ...], Tensor] = {}
        self._said: set[str] = set()

    def get_control(
        self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], batched_number: int, transformer_options: Options
    ) -> Control | None:
        """Called by the host in each step: what to add to the UNet's blocks, by this net and those before it."""
        earlier = None
        if self.previous_controlnet is not None:
            earlier = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        call, picture = call_of(transformer_options, tuple(x_noisy.shape))
        if call.tiled:
            self._say("each tile gets the key points of the whole face, as the tiled sampler doesn't tell where a tile lies.")
        if FACES not in transformer_options:
            self._say(self.lonely)
        self.net.cond_hint = self._hint(call, picture, x_noisy)
        cond = {**cond, "crossattn_controlnet": self._context(call, x_noisy)}
        own = self.net.get_control(x_noisy, t, cond, batched_number, transformer_options)
        if own is None:
            return earlier
        if self.region is not None:
            own = {name: [_inside(x, self.region, call) for x in outputs] for name, outputs in own.items()}
        return own if earlier is None else _sum(own, earlier)

    def _say(self, text: str) -> None:
        if text and text not in self._said:
            self._said.add(text)
            warn(text)

    def _hint(self, call: Chunks, picture: tuple[int, int], like: Tensor) -> Tensor:
        dtype = self.net.manual_cast_dtype or self.net.control_model.dtype
        key = ("hint", picture, call.crops, call.lines, call.latents, dtype, like.device)
        return self._keep(key, lambda: self.hint.rows(call, picture, self.compression_ratio).to(like.device, dtype))

    def _context(self, call: Chunks, like: Tensor) -> Tensor:
        size = len(call.latents) // len(call.sides)

        def rows() -> Tensor:
            sides = [side for side in call.sides for _ in range(size)]
            return self.tokens[sides, [number % self.tokens.shape[1] for number in call.latents]].to(like.device)

        return self._keep(("context", call.sides, call.latents, like.device), rows)

    def _keep(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        made = self._kept.get(key)
        if made is None:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            made = self._kept[key] = make()
        return made

    def pre_run(self, model: Any, percent_to_timestep_function: Callable[[float], float]) -> None:
        """Called by the host before sampling."""
        super().pre_run(model, percent_to_timestep_function)
        self.net.pre_run(model, percent_to_timestep_function)

    def cleanup(self) -> None:
        """Called by the host after sampling."""
        super().cleanup()
        self.net.cleanup()
        self._kept.clear()

    def get_models(self) -> list[Any]:
        """What the host has to load."""
        return [*super().get_models(), *self.net.get_models()]

    def inference_memory_requirements(self, dtype: torch.dtype) -> float:
        """In bytes, beside the models."""
        needed: float = super().inference_memory_requirements(dtype) + self.net.inference_memory_requirements(dtype)
        return needed

    def copy(self) -> "FaceControl":
        """The same, free to stand in another chain."""
        made = FaceControl(self.net.copy(), self.tokens, self.hint, self.region, self.lonely)
        self.copy_to(made)
        return made

    def deepclone_multigpu(self, load_device: torch.device, autoregister: bool = False) -> "FaceControl":
        """Called by the host for each further device."""
        made = FaceControl(self.net.deepclone_multigpu(load_device), self.tokens, self.hint, self.region, self.lonely)
        self.copy_to(made)
        if autoregister:
            self.multigpu_clones[load_device] = made
        return made


def _inside(x: Tensor | None, region: Region, call: Chunks) -> Tensor | None:
    if x is None:
        return None
    height, width = x.shape[-2:]
    return x * region.weights(x, (height, width), call).transpose(1, 2).view(-1, 1, height, width)


def _sum(own: Control, earlier: Control) -> Control:
    def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return b if a is None else a if b is None else a + b

    names = dict.fromkeys((*own, *earlier))
    return {name: [both(a, b) for a, b in zip_longest(own.get(name, ()), earlier.get(name, ()))] for name in names}
