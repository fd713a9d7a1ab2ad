"""Which conditioning each chunk of a UNet call is: conditional or not, and of which part of the picture.

ComfyUI numbers conditionings by their place in the list of one call. 0 is the positive one under CFG, but the negative
one under Dual CFG and in the extra call of self-attention guidance. The guider knows them by name, so its names are
handed down: guider -> list of conditionings -> UNet call -> block.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from comfy.patcher_extension import WrappersMP

KEY = "facegen"
SIDE = "facegen_side"  # in a conditioning
WINDOWS, LISTED, CHUNKS = "facegen_windows", "facegen_listed", "facegen_chunks"  # in transformer_options

Crop = tuple[float, float, float, float]  # y0, y1, x0, x1 as shares of the picture


class Chunks(NamedTuple):
    """What one UNet call is made of, chunk by chunk.

    sides    0 conditional, 1 unconditional.
    crops    the part of the picture that is drawn; None for all of it.
    latents  numbers of a chunk's latents in the whole batch, where a context window takes some of them.
    tiled    True when another node hands out tiles whose place in the picture isn't told.
    closed   sigma windows, as (start, end), in which this step doesn't lie; None when that hasn't been looked at.
    """

    sides: tuple[int, ...]
    crops: tuple[Crop | None, ...]
    latents: tuple[int, ...] | None = None
    tiled: bool = False
    closed: tuple[tuple[float, float], ...] | None = None


def watch(model) -> None:
    """Make the UNet calls of this model say what their chunks are. Twice is the same as once."""
    wrappers = {WrappersMP.PREDICT_NOISE: _name, WrappersMP.CALC_COND_BATCH: _list, WrappersMP.APPLY_MODEL: _resolve}
    for place, wrapper in wrappers.items():
        if not model.get_wrappers(place, KEY):
            model.add_wrapper_with_key(place, KEY, wrapper)


def chunks(extra_options: dict) -> Chunks:
    """The chunks of this call, from what an attention block is told. Called without a guider, 0 is conditional."""
    if CHUNKS in extra_options:
        return extra_options[CHUNKS]
    sides = tuple(_by_place(index) for index in extra_options["cond_or_uncond"])
    return Chunks(sides, (None,) * len(sides))


def _by_place(index: int) -> int:
    return 0 if index == 0 else 1


@dataclass
class _Listed:
    """The conditionings of one call to the model: sides by place in the list, crops by the conditioning's id."""

    sides: list[int]
    batch: int
    size: tuple[int, int]
    crops: dict = field(default_factory=dict)
    _sigma: float | None = None

    def chunks(self, options: dict, shape) -> Chunks:
        sides = tuple(self.sides[index] for index in options["cond_or_uncond"])
        crops = tuple(self.crops.get(uuid) for uuid in options["uuids"])
        unplaced = len(crops) != len(sides) and len(set(crops)) > 1  # another node took the call apart
        if len(crops) != len(sides):
            crops = crops[:1] * len(sides)
        # A node that samples in tiles repeats the whole batch, tile after tile.
        repeats = max(1, shape[0] // (self.batch * len(sides)))
        y0, y1, x0, x1 = crops[0] or (0, 1, 0, 1)
        drawn = (round((y1 - y0) * self.size[0]), round((x1 - x0) * self.size[1]))
        tiled = unplaced or drawn != tuple(shape[-2:])
        latents = _in_window(options.get("context_window"))
        crops = (None,) * len(crops) if tiled else crops
        return Chunks(sides * repeats, crops * repeats, latents, tiled, self._closed(options))

    def _closed(self, options: dict) -> tuple[tuple[float, float], ...]:
        windows = options.get(WINDOWS, ())
        if windows and self._sigma is None:
            self._sigma = float(options["sigmas"][0])  # once for all blocks, faces and chunks
        return tuple((start, end) for start, end in windows if not end <= self._sigma <= start)


def _in_window(window) -> tuple[int, ...] | None:
    """The numbers of the latents in a context window over the batch, asked of the window itself: beside its own it may hold
    an anchor. None for no window, or one over another dimension, where each call holds the whole batch."""
    if window is None or window.dim != 0:
        return None
    return tuple(window.get_tensor(torch.arange(max(window.index_list) + 1)).tolist())


def _name(executor, x, timestep, model_options=None, seed=None):
    """Around a guider's step: marks its conditionings, so that copies of them in other lists are known, too."""
    for name, conds in executor.class_obj.conds.items():
        for cond in conds or ():
            # Dual CFG and Perp-Neg mark what stands in for a negative prompt by its type.
            if "negative" in name or cond.get("prompt_type") == "negative":
                cond[SIDE] = 1
            elif name == "positive":
                cond[SIDE] = 0
    return executor(x, timestep, model_options or {}, seed)


def _list(executor, model, conds, x_in, timestep, model_options):
    """Around one evaluation of a list of conditionings, of which a guider may ask several in a step."""
    sides = [cond[0].get(SIDE, _by_place(place)) if cond else _by_place(place) for place, cond in enumerate(conds)]
    listed = _Listed(sides, len(x_in), tuple(x_in.shape[-2:]))
    for cond in (c for each in conds for c in each or () if "area" in c):
        listed.crops[cond["uuid"]] = _crop(cond["area"], listed.size)
    options = {**model_options.get("transformer_options", {}), LISTED: listed}
    return executor(model, conds, x_in, timestep, {**model_options, "transformer_options": options})


def _crop(area, size: tuple[int, int]) -> Crop:
    """From ComfyUI's area (…, height, width, …, y, x) in latent pixels."""
    dims = len(area) // 2
    (height, width), (y, x) = area[dims - 2 : dims], area[2 * dims - 2 :]
    return y / size[0], min(y + height, size[0]) / size[0], x / size[1], min(x + width, size[1]) / size[1]


def _resolve(executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
    """Around the model: what this batch is, in plain numbers, which torch.compile can guard on."""
    options = transformer_options or {}
    if LISTED in options:
        known = {name: value for name, value in options.items() if name != LISTED}
        options = {**known, CHUNKS: options[LISTED].chunks(options, x.shape)}
    return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
