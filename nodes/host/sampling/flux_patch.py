"""A face in a FLUX.1 model of ComfyUI: layers of a method's own after some blocks, through the host's own hooks for blocks."""

from collections.abc import Sequence
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from comfy.ldm.flux.model import Flux
from torch import Tensor

from ....errors import FaceGenError
from ....models.identity.attention import IdentityAttention
from ....models.identity.pulid.cross_attention import HEAD_DIM, PictureLayer, PictureLayers
from .attention_patch import Moving
from .conditionings import SIZES, WINDOWS, watch
from .mask_region import Region
from .rows import Options, chunks
from .sigma_window import SigmaWindow

HELD = "facegen.flux_layers"  # the host's name for what it holds beside a model
PARTS = {"double": "double_block", "single": "single_block"}  # what the host calls the blocks


def flux_sizes(network: Any) -> tuple[int, int, int] | None:
    """Width, and number of double and of single blocks, of a FLUX.1 network; None for any other."""
    # FLUX.2 is the same class, with one modulation for all blocks.
    if not isinstance(network, Flux) or getattr(network.params, "global_modulation", False):
        return None
    return network.hidden_size, len(network.double_blocks), len(network.single_blocks)


def add_face_layers(
    patched: Any,
    places: Sequence[tuple[str, int]],
    layers: Any,
    keys_values: Sequence[tuple[Tensor, Tensor]],
    weights: Sequence[float],
    percent_range: tuple[float, float] = (0.0, 1.0),
    region: Region | None = None,
) -> None:
    """Add a face to `patched`, a clone (a ModelPatcher of FLUX.1) that is the caller's own.

    places         after which blocks the layers stand, see cross_attention.places.
    layers         what the picture's states go through, by `managed`; the host holds them with the model from here on.
    keys_values    of each layer, as an adapter gives them. weights: of each layer.
    percent_range  where in the sampling the face acts, from 0 to 1. region: where in the picture.
    """
    watch(patched)
    _hold(patched, layers)
    window = SigmaWindow.between(patched, *percent_range)
    options = patched.model_options["transformer_options"]
    if window is not None:
        options[WINDOWS] = (*options.get(WINDOWS, ()), window.range)
    dtype = patched.model.manual_cast_dtype or patched.model.get_dtype()  # in which the model computes
    patch_size = patched.model.diffusion_model.patch_size
    for (part, number), layer, (key, value), weight in zip(places, layers.model, keys_values, weights, strict=True):
        if weight == 0 or not isinstance(layer, PictureLayer):
            continue
        identity = IdentityAttention(key, value, key.shape[-1] // HEAD_DIM, weight)
        if dtype.itemsize > 1:
            identity.to(dtype)
        previous = options.get("patches_replace", {}).get("dit", {}).get((PARTS[part], number))
        patch = FluxFacePatch(layer, identity, patch_size, window, region, previous)
        patched.set_model_patch_replace(patch, "dit", PARTS[part], number)


def managed(layers: PictureLayers) -> Any:
    """A ModelPatcher, by which the host loads, offloads and frees the layers. It has to live as long as they do."""
    return comfy.model_patcher.ModelPatcher(
        layers,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def _hold(patched: Any, layers: Any) -> None:
    """Let the host treat the layers as part of the model. Those of one file count once, however many faces."""
    held = patched.get_additional_models_with_key(HELD)
    if not any(each.model is layers.model for each in held):
        patched.set_additional_models(HELD, [*held, layers.clone()])


class FluxFacePatch(Moving):
    """A block's replacement: the block itself (or whatever replaced it before us), plus what the face adds to the picture.

    Only tokens of the picture that is made get the face, neither text nor reference pictures.
    """

    def __init__(
        self,
        layer: PictureLayer,
        identity: IdentityAttention,
        patch_size: int,
        window: SigmaWindow | None = None,
        region: Region | None = None,
        previous: Any = None,
    ):
        self.layer, self.identity, self.patch_size = layer, identity, patch_size
        self.window, self.region, self.previous = window, region, previous

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = extra["original_block"](args) if self.previous is None else self.previous(args, extra)
        options: Options = args["transformer_options"]
        call = chunks(options, len(out["img"]))
        if self.window is not None and not self.window.open(call, options["sigmas"]):
            return out
        height, width, text = options[SIZES]
        # The host's own rounding.
        grid = tuple((side + self.patch_size // 2) // self.patch_size for side in (height, width))
        start = self._start(args, text)
        end = start + grid[0] * grid[1]
        picture = out["img"][:, start:end]
        if picture.shape[1] != end - start:
            raise FaceGenError(
                f"The model works on {out['img'].shape[1] - start} tokens of the picture where {end - start} were to come, so "
                "the face can't be put in its place. Another node on this model changes what it works on: take it off, or "
                "sample without a face."
            )
        face = self.layer(picture, self.identity, call.sides, call.latents)
        if self.region is None:
            picture = picture + face
        else:
            picture = torch.addcmul(picture, face, self.region.weights(face, (grid[0], grid[1]), call))
        return {**out, "img": torch.cat([out["img"][:, :start], picture, out["img"][:, end:]], dim=1)}

    @staticmethod
    def _start(args: dict[str, Any], text: int) -> int:
        """Where the picture begins in `img`: double blocks have the text beside it, single blocks before it."""
        if "txt" not in args:
            return text
        if args["txt"].shape[1] != text:
            raise FaceGenError(
                f"The model works on {args['txt'].shape[1]} tokens of text where {text} were to come, so the face can't be put "
                "in its place. Another node on this model changes them: take it off, or sample without a face."
            )
        return 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "FluxFacePatch":
        return self  # hosts up to 0.8 copy a model's options deeply; what is in here never changes
