"""PuLID on a ComfyUI model: SDXL through its cross-attention, FLUX.1 through its blocks."""

import weakref
from functools import partial
from typing import Any

import comfy.ops
from torch import Tensor

from .....errors import FaceGenError
from .....models.face.embeds import FaceEmbeds
from .....models.identity.layer_weights import parse_layer_weights
from .....models.identity.pulid.adapter import PulidAdapter
from .....models.identity.pulid.orthogonal import PROJECTIONS, V2, OrthogonalAttention
from ...reports import warn
from ..attention_patch import add_face
from ..flux_patch import add_face_layers, flux_sizes, managed
from ..mask_region import Region
from ..unet_blocks import is_unet, matching_blocks

# Several faces by one file share its layers, which go with the file.
_layers: weakref.WeakKeyDictionary[PulidAdapter, Any] = weakref.WeakKeyDictionary()


def apply_pulid(
    model: Any,
    adapter: PulidAdapter,
    face_embeds: FaceEmbeds,
    *,
    weight: float = 1.0,
    projection: str = V2,
    num_zero: int = 0,
    percent_range: tuple[float, float] = (0.0, 1.0),
    layer_weights: str = "",
    mask: Tensor | None = None,
) -> Any:
    """A clone of `model` (a ModelPatcher) that generates the faces in `face_embeds`.

    projection, num_zero: for SDXL, see OrthogonalAttention. percent_range: where in the sampling the face acts, from 0 to 1.
    mask: where in the picture, [H, W] or [B, H, W] (0-1). Raises FaceGenError when the adapter doesn't fit the model or the
    face embeds, or a setting is out of range.
    """
    if projection not in PROJECTIONS:
        raise FaceGenError(f"Unknown projection {projection!r}. Choose one of: {', '.join(PROJECTIONS)}.")
    network, region = model.model.diffusion_model, Region.of(mask)
    sizes = flux_sizes(network)
    if sizes is not None:
        places = adapter.match_flux(*sizes)
        weights = [weight * share for share in parse_layer_weights(layer_weights, len(places))]
    elif is_unet(network):
        blocks = matching_blocks(model, adapter)
        weights = [weight * share for share in parse_layer_weights(layer_weights, len(blocks))]
    else:
        found = f"a {type(model.model).__name__} with the network {type(network).__name__}"
        raise adapter.other_model(f"{found}, which is neither SDXL's nor FLUX.1's as ComfyUI has them")
    keys_values = adapter.keys_values(face_embeds)
    patched = model.clone()
    if region is not None and region.is_empty:
        warn("the mask is black all over, so the face is not applied.")
        return patched
    if sizes is None:
        attend = partial(OrthogonalAttention, projection=projection, num_zero=num_zero)
        add_face(patched, blocks, keys_values, weights, percent_range, region, attend)
        return patched
    if projection != V2 or num_zero:
        warn(f"projection and num_zero have no effect: {adapter.file.path.name} is for FLUX.1, which knows neither.")
    if adapter not in _layers:
        _layers[adapter] = managed(adapter.picture_layers(comfy.ops.manual_cast))
    add_face_layers(patched, places, _layers[adapter], keys_values, weights, percent_range, region)
    return patched
