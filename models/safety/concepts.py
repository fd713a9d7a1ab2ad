"""Stable Diffusion's safety checker (CompVis): how near a picture's CLIP embedding lies to embeddings of unsafe concepts.

What the concepts are was not published; they are numbered here as in the file.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import BrokenCheckerError, FaceGenError, NoVerdictError
from ..networks import Place, stay
from ..pictures import batches, require_rgb
from .checking import DEFAULT_THRESHOLD, SafetyResult
from .clip_vit import VisionTransformer, views
from .views import MAX_SIDE, MOST_VIEWS

BATCH = 64  # views in one pass, at most, but all those of one picture
CARE = 0.01  # what the published logic adds to every later margin once a concept of special care is near
# Added to all margins (cosine similarity less the concept's own limit): one such step up or down.
STRICTNESS = {"default": 0.0, "strict": CARE, "lenient": -CARE}
SPAN = 0.2  # the margin, up and down, that takes the score from DEFAULT_THRESHOLD to 1 and to 0
CONCEPTS, SPECIAL = "concept_embeds", "special_care_embeds"
NESTED = "vision_model.vision_model."  # published so; files written by newer libraries have one level less


class ConceptModel(nn.Module):
    """The published network: normalised pixels [B, 3, side, side] to cosine similarities with its unsafe concepts [B, 17]
    and with those of special care [B, 3]."""

    def __init__(self, vision: VisionTransformer, sizes: dict[str, torch.Size]):
        super().__init__()
        self.vision_model = vision
        outputs, inputs = sizes["visual_projection.weight"]
        self.visual_projection = nn.Linear(inputs, outputs, bias=False, device="meta")
        self.concept_embeds, self.special_care_embeds, self.concept_embeds_weights, self.special_care_embeds_weights = (
            nn.Parameter(torch.empty(sizes[name], device="meta"))
            for name in (CONCEPTS, SPECIAL, f"{CONCEPTS}_weights", f"{SPECIAL}_weights")
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        picture = F.normalize(self.visual_projection(self.vision_model(pixels)))
        return picture @ F.normalize(self.concept_embeds).T, picture @ F.normalize(self.special_care_embeds).T


def load_concept_model(path: Path) -> ConceptModel:
    """The network in float32 from a safetensors file. Raises BrokenCheckerError when the file isn't a whole safety
    checker."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BrokenCheckerError(f"{path} can't be read as safetensors: {error}") from error
    named = {n.replace(NESTED, "vision_model."): t for n, t in tensors.items() if not n.endswith("position_ids")}
    wrong = f"{path} is not Stable Diffusion's safety checker: "
    try:
        model = ConceptModel(VisionTransformer.like(named, "vision_model."), {n: t.shape for n, t in named.items()})
        model.load_state_dict({n: t.float() for n, t in named.items()}, assign=True)
    except KeyError as error:
        raise BrokenCheckerError(f"{wrong}it holds no tensor {error.args[0]}.") from error
    except (RuntimeError, ValueError) as error:  # names missing and superfluous tensors, or unexpected sizes
        raise BrokenCheckerError(f"{wrong}{error}") from error
    if any(len(getattr(model, f"{name}_weights")) != len(getattr(model, name)) for name in (CONCEPTS, SPECIAL)):
        raise BrokenCheckerError(f"{wrong}it has not one limit for each concept.")
    projected, *known = (len(model.visual_projection.weight), model.concept_embeds.shape[1], model.special_care_embeds.shape[1])
    if other := [size for size in known if size != projected]:
        raise BrokenCheckerError(f"{wrong}it projects to {projected} numbers, and its concepts have {other[0]}.")
    if model.vision_model.side > MAX_SIDE:
        raise BrokenCheckerError(f"{wrong}it sees {model.vision_model.side} pixels along a side, and {MAX_SIDE} is the most.")
    if bad := [n for n, t in model.state_dict().items() if not t.isfinite().all()]:
        raise BrokenCheckerError(f"{path} is damaged: NaN or infinity in {bad[0]}.")
    # To a concept of zeros nothing is near, so nothing would ever be flagged.
    if not all(c.norm(dim=-1).all() for c in (model.concept_embeds, model.special_care_embeds)):
        raise BrokenCheckerError(f"{path} is damaged: a concept consists of zeros.")
    return model.eval().requires_grad_(False)


class ConceptChecker:
    """Stable Diffusion's safety checker from a safetensors file, with the published decision on each square view of a picture:
    on the middle, which is all that the published one sees, and on what lies before and after it. The highest score counts.

    preset  one of STRICTNESS.
    place   see networks.Place.

    Raises BrokenCheckerError when the file can't be used, FaceGenError on another preset.
    """

    def __init__(self, path: Path, name: str, preset: str = "default", place: Place = stay):
        if preset not in STRICTNESS:
            raise FaceGenError(f"Unknown preset {preset!r} of {name}. Choose one of: {', '.join(STRICTNESS)}.")
        self.name = name if preset == "default" else f"{name} {preset}"
        self._adjustment = STRICTNESS[preset]
        self._model = load_concept_model(path)
        self._ready = place(self._model)

    def check(self, images: Tensor) -> list[SafetyResult]:
        """One result for each of the RGB pictures [B, H, W, 3] (float, 0-1). Raises BadPicturesError on any other
        input, and NoVerdictError when the model gives no number."""
        require_rgb(images)
        height, width = images.shape[1:3]
        results = []
        for batch in batches(images, BATCH if height == width else BATCH // MOST_VIEWS):
            results += self._judge(batch)
        return results

    def _judge(self, batch: Tensor) -> list[SafetyResult]:
        device = self._ready()
        with torch.no_grad():
            seen = views(batch.to(device), self._model.vision_model.side)
            near = self._model(seen.flatten(0, 1))
        limits = self._model.concept_embeds_weights, self._model.special_care_embeds_weights
        concepts, care, concept_limits, care_limits = (t.float().cpu().numpy() for t in (*near, *limits))
        if not (np.isfinite(concepts).all() and np.isfinite(care).all()):
            raise NoVerdictError(f"The model of {self.name} gave NaN or infinity, so no picture was let through.")
        found = (scores(m) for m in margins(concepts, care, concept_limits, care_limits, self._adjustment))
        highest = (score.reshape(len(batch), seen.shape[1], -1).max(axis=1) for score in found)
        return [_result(c, s) for c, s in zip(*highest, strict=True)]


def margins(
    near: np.ndarray, near_care: np.ndarray, limits: np.ndarray, limits_care: np.ndarray, adjustment: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """By how much pictures are too near to each concept [B, 17] and to each of special care [B, 3]; above 0 is unsafe.

    From cosine similarities and the concepts' limits, by the published rule: three decimals, and once a concept of
    special care is near, everything after it counts as a little nearer.
    """
    raised = np.full(len(near), adjustment, np.float32)
    care = np.empty_like(near_care)
    for i in range(near_care.shape[1]):
        care[:, i] = np.round(near_care[:, i] - limits_care[i] + raised, 3)
        raised = np.where(care[:, i] > 0, np.float32(adjustment + CARE), raised)
    return np.round(near - limits + raised[:, None], 3), care


def scores(margins: np.ndarray) -> np.ndarray:
    """Margins on the common scale: above DEFAULT_THRESHOLD exactly when the margin is above 0."""
    above = DEFAULT_THRESHOLD + (1 - DEFAULT_THRESHOLD) * np.clip(margins / SPAN, 0, 1)
    # Half the last decimal lower, so that a margin of 0 stays below the threshold.
    below = DEFAULT_THRESHOLD * np.clip(1 + (margins - 0.0005) / SPAN, 0, 1)
    return np.where(margins > 0, above, below).astype(np.float64)


def _result(concepts: np.ndarray, care: np.ndarray) -> SafetyResult:
    """Concepts of special care alone flag nothing; they make the others count for more."""
    class_scores = {f"concept {i}": float(s) for i, s in enumerate(concepts)}
    class_scores |= {f"special care {i}": float(s) for i, s in enumerate(care)}
    return SafetyResult(float(concepts.max()), (), class_scores)
