"""The embedded engine: one Face Generator request to pictures, without ComfyUI."""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
from torch import Tensor

from ..contract import FaceGenRequest
from ..errors import FaceGenError
from ..models.face.analysis import FaceAnalysis, to_bgr
from ..models.face.embeds import FaceEmbeds
from ..models.face.photo_to_embeds import embed_photos
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.safety.filter import filter_images
from ..models.safety.load import NUDENET, load_checker
from ..models.style import load_style, style_files
from .clip_vision import ClipVision
from .faceid import CFG_SIDES, apply_faceid
from .weights import Weights


@dataclass(frozen=True)
class Result:
    """images: RGB [samples, H, W, 3] (0-1), unsafe ones redacted; request: as it was run, with its seed."""

    images: Tensor
    request: FaceGenRequest
    flagged: list[bool]
    faceid: str


class Engine:
    """Models loaded once; `generate` may be called many times. Raises FaceGenError when a file can't be used."""

    def __init__(self, weights: Weights):
        cuda = torch.cuda.is_available()
        self.device, self.dtype = torch.device("cuda" if cuda else "cpu"), torch.float16 if cuda else torch.float32
        self.adapter = FaceIDAdapter(weights.faceid)
        self.face_analysis = FaceAnalysis(weights.face_pack)
        self.clip_vision = ClipVision(weights.clip_vision, self.device, self.dtype)
        self.pipe = _pipeline(weights.checkpoint).to(self.device, self.dtype)
        self.pipe.scheduler = DPMSolverMultistepScheduler.from_config(self.pipe.scheduler.config, use_karras_sigmas=True)
        self.checker = None

    def embed(self, photo: Tensor) -> tuple[FaceEmbeds, Tensor]:
        """The largest face of a photo [1, H, W, 3] (0-1), and its aligned crop [1, 224, 224, 3]."""
        height, width = photo.shape[1:3]
        if not self.face_analysis.detect(to_bgr(photo[0])):
            raise FaceGenError(
                f"No face found in the {width}x{height} photo (looked at {self.face_analysis.tries_in_words()}). Use a sharp, "
                "well-lit photo of one person who faces the camera, with some room around the head, down to the shoulders; "
                "not a tight crop of the face."
            )
        done = embed_photos(self.face_analysis, photo, self.clip_vision.states)
        return done.face_embeds, done.crops

    def generate(self, request: FaceGenRequest, embeds: FaceEmbeds, progress: str | None = None) -> Result:
        """Draw `request.samples` pictures of the face. `progress` labels a progress bar; None shows none."""
        if request.seed is None:
            request = replace(request, seed=secrets.randbits(32))
        style = load_style(style_files()[request.style])
        guided = request.guidance_scale > 1  # at 1 diffusers leaves out the unconditional half
        apply_faceid(
            self.pipe.unet,
            self.adapter,
            embeds,
            weight=style.weight,
            s_scale=request.s_scale,
            layer_weights=style.layer_weights,
            sides=CFG_SIDES if guided else CFG_SIDES[1:],
        )
        self.pipe.set_progress_bar_config(desc=progress, disable=progress is None, leave=True)
        drawn = self.pipe(
            prompt=style.positive(request.prompt),
            negative_prompt=style.negative_prompt(request.negative_prompt),
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            num_images_per_prompt=request.samples,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            output_type="pt",
        ).images
        images = drawn.movedim(1, -1).float().cpu().clamp(0, 1)
        images, flagged = self._checked(images, request)
        return Result(images, request, flagged, self.adapter.variant.name)

    def _checked(self, images: Tensor, request: FaceGenRequest) -> tuple[Tensor, list[bool]]:
        if not request.safety_checker:
            return images, [False] * len(images)
        self.checker = self.checker or load_checker(NUDENET)
        filtered = filter_images(images, self.checker, request.safety_checker_type)
        return filtered.images, filtered.flagged


def _pipeline(checkpoint: Path) -> StableDiffusionPipeline:
    """A diffusers folder, or a single file, whose small configuration files diffusers fetches from the hub once."""
    own_filter = {"safety_checker": None, "requires_safety_checker": False}
    try:
        if checkpoint.is_dir():
            return StableDiffusionPipeline.from_pretrained(checkpoint, local_files_only=True, **own_filter)
        return StableDiffusionPipeline.from_single_file(checkpoint, **own_filter)
    except (OSError, ValueError, LookupError, RuntimeError, SingleFileComponentError) as error:
        raise FaceGenError(f"{checkpoint} could not be loaded as a Stable Diffusion 1.5 checkpoint: {error}") from error
