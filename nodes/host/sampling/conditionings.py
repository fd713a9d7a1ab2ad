"""Which conditioning each chunk of a UNet call is: conditional or not, and of which part of the picture.

ComfyUI numbers conditionings by their place in the list of one call. 0 is the positive one under CFG, but the negative
one under Dual CFG and in the extra call of self-attention guidance. The guider knows them by name, so its names are
handed down: guider -> list of conditionings -> UNet call -> block.
"""

from dataclasses import dataclass, field
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .neighbours import beside
from .row_changes import followed
from .rows import CHUNKS, Chunks, Crop, Options, by_place, chunks, unknown_rows
from .windows import HOST_WINDOW, Lines, animatediff_window, host_window

KEY = "facegen"
SIDE, WHOLE = "facegen_side", "facegen_whole"  # in a conditioning
SIZES = "facegen_sizes"  # in transformer_options: height and width of the call's latents, and how many text tokens it has
WINDOWS, LISTED = "facegen_windows", "facegen_listed"  # in transformer_options


def watch(model: Any) -> None:
    """Make the UNet calls of this model say what their chunks are. Twice is the same as once."""
    wrappers = {
        WrappersMP.OUTER_SAMPLE: _name_early,
        WrappersMP.PREDICT_NOISE: _name,
        WrappersMP.CALC_COND_BATCH: _list,
        WrappersMP.APPLY_MODEL: _resolve,
    }
    for place, wrapper in wrappers.items():
        if not model.get_wrappers(place, KEY):
            model.add_wrapper_with_key(place, KEY, wrapper)


@dataclass
class _Listed:
    """The conditionings of one call to the model: sides by place in the list, crops by the conditioning's id."""

    sides: list[int]
    size: tuple[int, int]
    latents: tuple[int, ...]
    lines: Lines | None = None
    crops: dict[Any, Crop] = field(default_factory=dict)
    _sigma: float | None = None

    def chunks(self, options: Options, shape: tuple[int, ...]) -> Chunks:
        sides = tuple(self.sides[index] for index in options["cond_or_uncond"])
        crops: tuple[Crop | None, ...] = tuple(self.crops.get(uuid) for uuid in options["uuids"])
        unplaced = len(crops) != len(sides) and len(set(crops)) > 1  # another node took the call apart
        if len(crops) != len(sides):
            crops = crops[:1] * len(sides)
        latents = (animatediff_window(options) or self.latents) * len(sides)
        # A node that samples in tiles repeats the whole batch, tile after tile.
        repeats, rest = divmod(shape[0], len(latents))
        if not repeats or rest:
            raise unknown_rows(shape[0], len(latents), "to the model")
        y0, y1, x0, x1 = crops[0] or (0, 1, 0, 1)
        size = (round((y1 - y0) * self.size[0]), round((x1 - x0) * self.size[1]))
        tiled = unplaced or size != tuple(shape[-2:])
        if tiled:
            return Chunks(sides * repeats, (None,) * len(sides) * repeats, latents * repeats, None, True, self._closed(options))
        return Chunks(sides * repeats, crops * repeats, latents * repeats, self.lines, False, self._closed(options))

    def _closed(self, options: Options) -> tuple[tuple[float, float], ...]:
        windows = options.get(WINDOWS, ())
        if windows and self._sigma is None:
            self._sigma = float(options["sigmas"][0])  # once for all blocks, faces and chunks
        return tuple((start, end) for start, end in windows if not end <= self._sigma <= start)


def call_of(options: Options, shape: tuple[int, ...]) -> tuple[Chunks, tuple[int, int]]:
    """What a call to the model is, from the options that come with it, for what acts beside the UNet and before it; and height
    and width of the whole picture in latent pixels.

    shape: [B, C, h, w] of the call's latents. On a model that isn't watched, 0 is conditional and the call is of the whole.
    """
    listed: _Listed | None = options.get(LISTED)
    if listed is None:
        return chunks(options, shape[0]), (shape[-2], shape[-1])
    call = listed.chunks(options, shape)
    height, width = (shape[-2], shape[-1]) if call.tiled else listed.size
    if call.lines is None:
        return call, (height, width)
    return call, (call.lines.total, width) if call.lines.axis == -2 else (height, call.lines.total)


def _name_early(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Around a guider's whole sampling: a guider that copies its conditionings before the first step copies the mark, too."""
    _mark(executor.class_obj.conds)
    return executor(*args, **kwargs)


def _name(executor: Any, x: Tensor, timestep: Tensor, model_options: Options | None = None, seed: int | None = None) -> Any:
    """Around a guider's step: marks its conditionings, so that copies of them in other lists are known, too."""
    _mark(executor.class_obj.conds, tuple(x.shape))
    return executor(x, timestep, model_options or {}, seed)


def _mark(named: dict[str, list[Options]], whole: tuple[int, ...] | None = None) -> None:
    for name, conds in named.items():
        for cond in conds or ():
            # Dual CFG and Perp-Neg mark what stands in for a negative prompt by its type.
            if "negative" in name or cond.get("prompt_type") == "negative":
                cond[SIDE] = 1
            elif name == "positive":
                cond[SIDE] = 0
            if whole:
                cond[WHOLE] = whole


def _list(executor: Any, model: Any, conds: list[Any], x_in: Tensor, timestep: Tensor, model_options: Options) -> Any:
    """Around one evaluation of a list of conditionings, of which a guider may ask several in a step."""
    sides = [cond[0].get(SIDE, by_place(place)) if cond else by_place(place) for place, cond in enumerate(conds)]
    options = model_options.get("transformer_options", {})
    every = [cond for each in conds for cond in each or ()]
    whole = next((cond[WHOLE] for cond in every if WHOLE in cond), None)
    retained = getattr(model_options.get("context_handler"), "latent_retain_index_list", [])
    latents, lines = host_window(options.get(HOST_WINDOW), tuple(x_in.shape), whole, retained)
    listed = _Listed(sides, (x_in.shape[-2], x_in.shape[-1]), latents, lines)
    for cond in every:
        if "area" in cond:
            listed.crops[cond["uuid"]] = _crop(cond["area"], listed.size)
    options = {**options, LISTED: listed}
    return executor(model, conds, x_in, timestep, {**model_options, "transformer_options": options})


def _crop(area: tuple[int, ...], size: tuple[int, int]) -> Crop:
    """From ComfyUI's area (…, height, width, …, y, x) in latent pixels."""
    dims = len(area) // 2
    (height, width), (y, x) = area[dims - 2 : dims], area[2 * dims - 2 :]
    return y / size[0], min(y + height, size[0]) / size[0], x / size[1], min(x + width, size[1]) / size[1]


def _resolve(
    executor: Any,
    x: Tensor,
    t: Tensor,
    c_concat: Tensor | None = None,
    c_crossattn: Tensor | None = None,
    control: Any = None,
    transformer_options: Options | None = None,
    **kwargs: Any,
) -> Any:
    """Around the model: what this batch is, in plain numbers, which torch.compile can guard on."""
    text = 0 if c_crossattn is None else c_crossattn.shape[1]
    options = {**(transformer_options or {}), SIZES: (x.shape[-2], x.shape[-1], text)}
    if LISTED in options:
        known = {name: value for name, value in options.items() if name != LISTED}
        options = {**known, CHUNKS: options[LISTED].chunks(options, tuple(x.shape))}
    return executor(x, t, c_concat, c_crossattn, control, followed(beside(options)), **kwargs)
