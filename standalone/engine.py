"""The embedded engine: one Face Generator request to pictures, without ComfyUI."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..contract import FaceGenRequest
from ..errors import FaceGenError, WrongBaseModelError
from ..models.face.analysis import FaceAnalysis, to_bgr
from ..models.face.embeds import FaceEmbeds
from ..models.face.photo_to_embeds import embed_photos
from ..models.face.structure.look import FaceStructure
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.identity.instantid.adapter import InstantIDAdapter
from ..models.identity.pulid.adapter import PulidAdapter
from ..models.networks import stay
from ..models.pictures import Watch, unwatched
from ..models.safety.checking import SafetyChecker
from ..models.safety.filter import filter_images
from ..models.safety.load import NUDENET, load_checker
from .asked import Asked, Result, shape_of
from .checkpoints.controlnet import open_controlnet
from .checkpoints.opening import open_checkpoint
from .clip_vision import ClipVision
from .identity import CFG_SIDES, INSTANTID_WEIGHT, PULID_WEIGHT, apply_faceid, apply_instantid, apply_nobody, apply_pulid
from .instantid import FaceControl, hint_image
from .memory import usual_device
from .model_files import ModelFiles
from .photos import scaled
from .pulid_flux import FluxFace
from .sampling.flux import Flux


class Engine:
    """Models loaded once; `generate` may be called many times. Raises FaceGenError when a file can't be used.

    With `checks`, the safety checker is loaded before all else, so that a missing one is told before the work begins;
    without, it is loaded by the first request that wants it, before its pictures are made. `device` is a GPU where there is
    one, unless it is given.
    """

    def __init__(self, files: ModelFiles, checks: bool = False, device: torch.device | None = None):
        self.checker: SafetyChecker | None = load_checker(NUDENET) if checks else None
        self.device = device or usual_device()
        self.dtype = torch.float32 if self.device.type == "cpu" else torch.float16
        self.method = files.method
        self.adapter = _open_adapter(files)
        self.face_analysis = FaceAnalysis(files.face_pack)
        self.face_structure = self._open_structure(files)
        self.clip_vision = files.clip_vision and ClipVision(files.clip_vision, self.device, self.dtype)
        self.checkpoint = open_checkpoint(files.checkpoint, self.device, self.dtype)
        self.controlnet = files.controlnet and open_controlnet(files.controlnet, self._unet, self.device, self.dtype)
        self.flux_face = FluxFace(self.checkpoint.transformer, self._pulid) if isinstance(self.checkpoint, Flux) else None

    def embed(self, photo: Tensor, name: str = "the photo") -> tuple[FaceEmbeds, Tensor]:
        """The largest face of a photo [1, H, W, 3] (0-1), and its aligned crop [1, 224, 224, 3]. Warnings and errors call the
        photo by its name."""
        height, width = photo.shape[1:3]
        if not self.face_analysis.detect(to_bgr(photo[0])):
            raise FaceGenError(
                f"No face found in {name}, {width}x{height} pixels (looked at {self.face_analysis.tries_in_words()}). Use a "
                "sharp, well-lit photo of one person who faces the camera, with some room around the head, down to the "
                "shoulders; not a tight crop of the face."
            )
        encode = self.clip_vision.states if self.clip_vision else None
        look = self.face_structure.look if self.face_structure else None
        done = embed_photos(self.face_analysis, photo, encode, look, names=[name] * len(photo))
        return done.face_embeds, done.crops

    def generate(
        self, request: FaceGenRequest, face_embeds: FaceEmbeds | None, progress: str | None = None, watch: Watch = unwatched
    ) -> Result:
        """Sample `request.samples` pictures of the face; without one, what the model makes of the words alone. `progress`
        labels a progress bar; None shows none. `watch` is told of the steps; what it raises ends the work."""
        return self.generate_together([Asked(request, face_embeds)], progress, watch)[0]

    def generate_together(self, asked: Sequence[Asked], progress: str | None = None, watch: Watch = unwatched) -> list[Result]:
        """What `generate` gives for each, to rounding, sampled in one batch. Raises ValueError unless `shape_of` says the same
        of all, and all have a face, or there is but one."""
        asked = [one.with_seed() for one in asked]
        first = asked[0].request
        if len({shape_of(one.request) for one in asked}) > 1 or (
            len(asked) > 1 and any(one.face_embeds is None for one in asked)
        ):
            raise ValueError("requests that don't fit together")
        checkers = [self._checker_for(one.request) for one in asked]
        width, height = (side * self.checkpoint.scale for side in (first.width, first.height))
        more = self._apply(asked, (width, height))
        images = self.checkpoint.sample(
            [one.style.positive(one.request.prompt) for one in asked],
            width=width,
            height=height,
            steps=first.num_inference_steps,
            guidance=first.guidance_scale,
            samples=[one.request.samples for one in asked],
            generator=[generator for one in asked for generator in one.generators()],
            progress=progress,
            watch=watch,
            **more,
        )
        each = torch.split(images, [one.request.samples for one in asked])
        return [self._checked(*parts) for parts in zip(asked, each, checkers, strict=True)]

    def _checked(self, asked: Asked, images: Tensor, checker: SafetyChecker | None) -> Result:
        request, flagged = asked.request, [False] * len(images)
        if checker is not None:
            filtered = filter_images(images, checker, request.safety_checker_type)
            images, flagged = filtered.images, filtered.flagged
        return Result(scaled(images, request.width, request.height), request, flagged, self.adapter.variant.name)

    def _apply(self, asked: Sequence[Asked], size: tuple[int, int]) -> dict[str, Any]:
        """The faces into the model's attention; what else the sampling is told. size: width and height in pixels."""
        shown = [person for one in asked for person in one.shown(self._weight)]
        if self.flux_face is not None:
            self.flux_face.show(shown)
            return {}
        told = {"negative_prompts": [one.style.negative_prompt(one.request.negative_prompt) for one in asked]}
        sides = CFG_SIDES if asked[0].request.guidance_scale > 1 else CFG_SIDES[1:]  # at 1 there is no unconditional half
        if not shown:
            apply_nobody(self._unet)
        elif isinstance(self.adapter, InstantIDAdapter):
            apply_instantid(self._unet, self.adapter, shown, sides=sides)
            hints = [hint_image(person.face_embeds, *size) for person in shown]
            return told | {"control": FaceControl(self.controlnet, self.adapter, shown, hints, sides=sides)}
        elif isinstance(self.adapter, PulidAdapter):
            apply_pulid(self._unet, self.adapter, shown, sides=sides)
        else:
            apply_faceid(self._unet, self.adapter, shown, sides=sides)
        return told

    @property
    def _weight(self) -> float:
        """How much of a face the method's authors show."""
        if isinstance(self.adapter, InstantIDAdapter):
            return INSTANTID_WEIGHT
        return PULID_WEIGHT if isinstance(self.adapter, PulidAdapter) and self.flux_face is None else 1.0

    @property
    def _unet(self) -> Any:
        if isinstance(self.checkpoint, Flux):
            raise WrongBaseModelError(f"{self.adapter.method} needs a UNet, and {self.checkpoint.kind.path.name} is FLUX.1.")
        return self.checkpoint.unet

    @property
    def _pulid(self) -> PulidAdapter:
        if not isinstance(self.adapter, PulidAdapter):
            raise WrongBaseModelError(f"{self.adapter.method} wasn't made for FLUX.1, of which only PuLID has a version.")
        return self.adapter

    def _open_structure(self, files: ModelFiles) -> FaceStructure | None:
        """The networks through which PuLID sees a face; without PuLID None."""
        if files.vision_tower is None or files.face_parsing is None:
            return None
        return FaceStructure(files.vision_tower, files.face_parsing, lambda network: stay(network.to(self.device)))

    def _checker_for(self, request: FaceGenRequest) -> SafetyChecker | None:
        """None only if the request wants none."""
        if not request.safety_checker:
            return None
        self.checker = self.checker or load_checker(NUDENET)
        return self.checker


def _open_adapter(files: ModelFiles) -> FaceIDAdapter | InstantIDAdapter | PulidAdapter:
    if files.instantid is not None:
        return InstantIDAdapter(files.instantid)
    if files.pulid is not None:
        return PulidAdapter(files.pulid)
    if files.faceid is not None:
        return FaceIDAdapter(files.faceid)
    raise ValueError("the adapter of no method is given")
