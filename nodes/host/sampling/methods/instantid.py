"""InstantID on a ComfyUI model: its attention, and its ControlNet in the conditionings."""

from typing import Any

import torch
from torch import Tensor

from .....errors import NoKeypointsError, WrongBaseModelError
from .....models.face.embeds import FaceEmbeds
from .....models.face.keypoints import Place, are_placed, as_in_photo, draw_keypoints, faces_to_draw, fitted
from .....models.identity.instantid.adapter import InstantIDAdapter
from .....models.identity.layer_weights import parse_layer_weights
from .....models.pictures import require_rgb
from ...reports import warn
from ..attention_patch import add_face
from ..face_control import FaceControl, Hint
from ..mask_region import Region
from ..unet_blocks import matching_blocks

Conditioning = list[list[Any]]  # the host's: [text states, what else belongs to them]
WEIGHT, CONTROL_STRENGTH = 0.8, 0.8  # as the method's authors use it
LONELY = (
    "the model that samples isn't the one that Apply InstantID made, so its ControlNet alone shows the person. Connect Apply "
    "InstantID's model output to the sampler."
)
DARK = 0.1  # below it, a pixel shows no point and no limb; the dimmest limb has 0.6


def apply_instantid(
    model: Any,
    adapter: InstantIDAdapter,
    face_embeds: FaceEmbeds,
    positive: Conditioning,
    negative: Conditioning,
    control_net: Any,
    keypoints: Tensor | None = None,
    *,
    weight: float = WEIGHT,
    control_strength: float = CONTROL_STRENGTH,
    percent_range: tuple[float, float] = (0.0, 1.0),
    layer_weights: str = "",
    mask: Tensor | None = None,
) -> tuple[Any, Conditioning, Conditioning]:
    """A clone of `model` (a ModelPatcher) and copies of its conditionings that generate the face in `face_embeds`.

    keypoints  hint images [n, H, W, 3] (0-1), one for all latents or one for each; None: drawn from the face embeds in the size
               of the picture when it is sampled.
    Raises FaceGenError when the parts don't fit each other, or a setting is out of range.
    """
    require_control_net(control_net, adapter)
    if said := _without_effect(adapter, weight, control_strength):
        warn(said)
    controlled = control_by_face(
        adapter, face_embeds, positive, negative, control_net, keypoints, control_strength, percent_range, mask, LONELY
    )
    patched = attend_to_face(
        model, adapter, face_embeds, weight=weight, percent_range=percent_range, layer_weights=layer_weights, mask=mask
    )
    return patched, *controlled


def attend_to_face(
    model: Any,
    adapter: InstantIDAdapter,
    face_embeds: FaceEmbeds,
    *,
    weight: float,
    percent_range: tuple[float, float] = (0.0, 1.0),
    layer_weights: str = "",
    mask: Tensor | None = None,
) -> Any:
    """The first half of `apply_instantid`: a clone of `model` whose attention sees the face."""
    blocks = matching_blocks(model, adapter)
    weights = [weight * share for share in parse_layer_weights(layer_weights, len(blocks))]
    region, patched = Region.of(mask), model.clone()
    if region is not None and region.is_empty:
        warn("the mask is black all over, so the face is not applied.")
    else:
        add_face(patched, blocks, adapter.keys_values(face_embeds), weights, percent_range, region)
    return patched


def control_by_face(
    adapter: InstantIDAdapter,
    face_embeds: FaceEmbeds,
    positive: Conditioning,
    negative: Conditioning,
    control_net: Any,
    keypoints: Tensor | None,
    strength: float,
    percent_range: tuple[float, float] = (0.0, 1.0),
    mask: Tensor | None = None,
    lonely: str = "",
) -> tuple[Conditioning, Conditioning]:
    """The other half of `apply_instantid`: copies of the conditionings with the ControlNet that reads the face.

    lonely: what to say when they are sampled by a model that was given no face, as it may be meant; "": nothing.
    """
    require_control_net(control_net, adapter)
    tokens = torch.stack(adapter.tokens(face_embeds))
    region, hint = Region.of(mask), _hint(face_embeds, keypoints)
    if strength == 0 or (region is not None and region.is_empty):
        return positive, negative

    def control(previous: Any) -> FaceControl:
        net = control_net.copy()
        net.set_cond_hint(None, strength, percent_range)
        net.set_previous_controlnet(None)
        made = FaceControl(net, tokens, hint, region, lonely)
        made.set_previous_controlnet(previous)
        return made

    return with_control(positive, negative, control)


def with_control(positive: Conditioning, negative: Conditioning, control: Any) -> tuple[Conditioning, Conditioning]:
    """Copies of both with control(previous ControlNet or None) on each; where those are the same, so is ours, so that the host
    runs them in one call.

    An older node puts a ControlNet on the positive conditioning alone, and the host carries it over when it samples: then ours
    is carried over with it.
    """
    made: dict[Any, Any] = {}

    def on(entry: list[Any]) -> list[Any]:
        text, options = entry
        previous = options.get("control")
        if previous not in made:
            made[previous] = control(previous)
        carried = previous is not None and options.get("control_apply_to_uncond", False)
        return [text, {**options, "control": made[previous], "control_apply_to_uncond": carried}]

    controlled = [on(entry) for entry in positive]
    if any(entry[1]["control_apply_to_uncond"] for entry in controlled):
        return controlled, [on(entry) if "control" in entry[1] else entry for entry in negative]
    return controlled, [on(entry) for entry in negative]


def require_control_net(control_net: Any, adapter: InstantIDAdapter) -> None:
    """Raises WrongBaseModelError unless it reads a text context of the adapter's width, as InstantID's own does."""
    network = getattr(control_net, "control_model", None)
    modules = network.named_modules() if isinstance(network, torch.nn.Module) else ()
    widths = {module.in_features for name, module in modules if name.endswith("attn2.to_k")}
    needed = adapter.variant.context_dim
    if widths == {needed}:
        return
    if not widths:
        found = f"a {type(network if network is not None else control_net).__name__} without cross-attention"
    else:
        found = f"made for another base model (context width {', '.join(map(str, sorted(widths)))})"
    raise WrongBaseModelError(
        f"{adapter.file.path.name} needs InstantID's own ControlNet, which is for {adapter.variant.base} (context width "
        f"{needed}); the one connected is {found}."
    )


def _hint(face_embeds: FaceEmbeds, keypoints: Tensor | None) -> Hint:
    if keypoints is not None:
        require_rgb(keypoints)
        if not bool((keypoints > DARK).any()):
            raise NoKeypointsError("keypoints is black all over: there is no face in the hint image.")
        return Hint.of(keypoints)
    pictures = faces_to_draw(face_embeds)
    placed = all(map(are_placed, pictures))
    if not placed:
        warn("the face embeds don't say how large their photo was, so the face is put at the usual place and size.")

    def points(faces: list[Place], width: int, height: int) -> list[Any]:
        return as_in_photo(faces, width, height) if placed else fitted(faces, width, height)

    def draw(width: int, height: int) -> Tensor:
        return torch.stack([draw_keypoints(points(faces, width, height), width, height) for faces in pictures])

    draw(64, 64)  # what can't be drawn is said now, and not in mid-sampling
    return Hint(draw)


def _without_effect(adapter: InstantIDAdapter, weight: float, control_strength: float) -> str:
    name = adapter.file.path.name
    if weight == 0 and control_strength == 0:
        return f"weight and control_strength are 0, so {name} and the ControlNet do nothing, and the person doesn't show."
    if weight == 0:
        return f"weight 0 leaves {name} out of the model's attention; only the ControlNet shows the person."
    return ""
