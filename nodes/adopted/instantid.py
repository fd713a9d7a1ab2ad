"""The nodes of ComfyUI_InstantID."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...adoption.packs import instantid as old
from ...adoption.packs.instantid import CONCAT, FACE_PACK, NOISE, NORM_AVERAGE
from ...errors import (
    Cures,
    FaceGenError,
    NoFaceError,
    NoKeypointsError,
    NotAnAdapterError,
    UnreadableFileError,
    WrongBaseModelError,
    WrongRecogniserError,
    advise,
)
from ...models.face.analysis import FaceAnalysis, select_faces, to_bgr
from ...models.face.embeds import FaceEmbeds
from ...models.face.keypoints import DIMMED, draw_keypoints
from ...models.face.photo_to_embeds import embed_photos
from ...models.identity.adapter import by_person
from ...models.identity.instantid.adapter import InstantIDAdapter
from ...models.identity.raw_embedding import raw_tokens
from ...models.pictures import require_rgb, watched
from ..host import reports
from ..host.cures import FACE_PACK as FACE_PACK_CURES
from ..host.cures import INSIGHTFACE, PICTURES
from ..host.reports import warn
from ..host.sampling.methods.instantid import apply_instantid, attend_to_face, control_by_face
from .parts import check_file, face_analysis, file_path
from .schema import Adopted

LOAD_CURES: Cures = {
    NotAnAdapterError: "Choose InstantID's ip-adapter.bin.",
    UnreadableFileError: "Download it again.",
    **INSIGHTFACE,
}
APPLY_CURES: Cures = {
    WrongBaseModelError: "InstantID needs an SDXL checkpoint, and its own ControlNet in Load ControlNet Model.",
    WrongRecogniserError: f"Choose {FACE_PACK} in the node that loads the face analysis.",
    NoKeypointsError: "Connect a photo that shows the pose to image_kps.",
    NoFaceError: "Use another photo.",
    **FACE_PACK_CURES,
    **PICTURES,
}
NEAR, MOST = 0.01, 0.5  # of a colour from a hint image's, and the share of what is drawn that has such colours


class LoadInstantID(Adopted):
    OLD = old.MODEL_LOADER

    @classmethod
    def validate_inputs(cls, instantid_file: str | None = None) -> bool | str:
        return check_file(cls.OLD, instantid_file)

    @classmethod
    @advise(OLD.title, LOAD_CURES)
    def execute(cls, instantid_file: str) -> io.NodeOutput:
        return io.NodeOutput(InstantIDAdapter(file_path(cls.OLD, instantid_file)))


class LoadAnalysis(Adopted):
    OLD = old.ANALYSIS_LOADER

    @classmethod
    @advise(OLD.title, LOAD_CURES)
    def execute(cls, provider: str) -> io.NodeOutput:
        return io.NodeOutput(face_analysis(FACE_PACK, provider))


class DrawKeypoints(Adopted):
    OLD = old.KEYPOINTS

    @classmethod
    @advise(OLD.title, {**FACE_PACK_CURES, **PICTURES})
    def execute(cls, faceanalysis: FaceAnalysis, image: Tensor) -> io.NodeOutput:
        drawn = keypoints(faceanalysis, image)
        if drawn is None:
            warn("no face was found, so there are no key points to draw.")
        return io.NodeOutput(torch.zeros_like(image) if drawn is None else drawn)


class Apply(Adopted):
    OLD = old.APPLY

    @classmethod
    @advise(OLD.title, APPLY_CURES)
    def execute(cls, weight: float, **inputs: Any) -> io.NodeOutput:
        done = apply(ip_weight=weight, cn_strength=weight, noise=NOISE, combine_embeds=old.AVERAGE, **inputs)
        return io.NodeOutput(*done)


class ApplyAdvanced(Adopted):
    OLD = old.APPLY_ADVANCED

    @classmethod
    @advise(OLD.title, APPLY_CURES)
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(*apply(**inputs))


class PatchAttention(Adopted):
    OLD = old.ATTENTION

    @classmethod
    @advise(OLD.title, APPLY_CURES)
    def execute(
        cls,
        instantid: InstantIDAdapter,
        insightface: FaceAnalysis,
        image: Tensor,
        model: Any,
        weight: float,
        start_at: float,
        end_at: float,
        noise: float,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        faces = seen(insightface, image, old.AVERAGE)
        adapter = with_noise(instantid, faces, noise)
        between = (start_at, end_at)
        patched = attend_to_face(model, adapter, faces, weight=weight, percent_range=between, mask=mask)
        return io.NodeOutput(patched, Person.of(faces, adapter))


class ApplyControl(Adopted):
    OLD = old.CONTROL

    @classmethod
    @advise(OLD.title, APPLY_CURES)
    def execute(
        cls,
        face_embeds: FaceEmbeds,
        control_net: Any,
        image_kps: Tensor,
        positive: Any,
        negative: Any,
        strength: float,
        start_at: float,
        end_at: float,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        adapter = face_embeds.adapter if isinstance(face_embeds, Person) else None
        if adapter is None:
            raise FaceGenError(
                f"face_embeds has to come from {old.ATTENTION.title}, which also says which InstantID file it is."
            )
        between = (start_at, end_at)
        given = control_by_face(adapter, face_embeds, positive, negative, control_net, image_kps, strength, between, mask)
        return io.NodeOutput(in_its_place(given[0], mask), given[1])


@dataclass(frozen=True, eq=False)
class Person(FaceEmbeds):
    """What goes from one half of InstantID to the other: the face, and the adapter that reads it."""

    adapter: InstantIDAdapter | None = None

    @classmethod
    def of(cls, faces: FaceEmbeds, adapter: InstantIDAdapter) -> "Person":
        """The faces with their adapter."""
        return cls(**{one.name: getattr(faces, one.name) for one in fields(faces)}, adapter=adapter)


def seen(analysis: FaceAnalysis, image: Tensor, combine: str) -> FaceEmbeds:
    """The largest face of each photo that has one, combined as the old nodes do."""
    photos = embed_photos(analysis, image, combine="concat", skip=True, watch=reports.progress())
    return combined(photos.face_embeds, combine)


def with_noise(adapter: InstantIDAdapter, faces: FaceEmbeds, noise: float) -> InstantIDAdapter:
    """The adapter, or one whose unconditional side sees random numbers."""
    return Noisy(adapter, noise_of(faces, noise)) if noise > 0 else adapter


def in_its_place(positive: Any, mask: Tensor | None) -> Any:
    """The conditioning with the mask on it, so that the prompts of several people stay apart."""
    if mask is None:
        return positive
    where = {"mask": mask.reshape(-1, *mask.shape[-2:]), "set_area_to_bounds": False}
    return [[text, {**options, **where}] for text, options in positive]


def keypoints(analysis: FaceAnalysis, images: Tensor) -> Tensor | None:
    """The hint image of the largest face of each photo [B, H, W, 3], in the photo's size; None where no photo has a face."""
    require_rgb(images)
    drawn = []
    for _, photo in watched(images, reports.progress()):
        height, width = photo.shape[:2]
        if faces := analysis.detect(to_bgr(photo)):
            (face,) = select_faces(faces, "largest", height, width)
            drawn.append(draw_keypoints([face.kps], width, height))
    return torch.stack(drawn) if drawn else None


def is_drawn(images: Tensor) -> bool:
    """Whether these are hint images already, such as the old pack's own node draws: what isn't black has the colours of points
    and limbs, but for edges that were resized."""
    require_rgb(images)
    shown = images[images.amax(dim=-1) > 0]
    of_hints = torch.stack([(shown - level).abs() < NEAR for level in (0.0, DIMMED, 1.0)]).any(dim=0).all(dim=-1)
    return len(shown) > 0 and of_hints.float().mean().item() > MOST


def apply(
    instantid: InstantIDAdapter,
    insightface: FaceAnalysis,
    control_net: Any,
    image: Tensor,
    model: Any,
    positive: Any,
    negative: Any,
    ip_weight: float,
    cn_strength: float,
    start_at: float,
    end_at: float,
    noise: float,
    combine_embeds: str,
    image_kps: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Any, Any, Any]:
    """A clone of `model`, and copies of its conditionings."""
    faces = seen(insightface, image, combine_embeds)
    drawn = image_kps
    if image_kps is None or not is_drawn(image_kps):
        drawn = keypoints(insightface, image[:1] if image_kps is None else image_kps)
    adapter = with_noise(instantid, faces, noise)
    model, positive, negative = apply_instantid(
        model,
        adapter,
        faces,
        positive,
        negative,
        control_net,
        image_kps if drawn is None else drawn,
        weight=ip_weight,
        control_strength=cn_strength,
        percent_range=(start_at, end_at),
        mask=mask,
    )
    return model, in_its_place(positive, mask), negative


def combined(faces: FaceEmbeds, how: str) -> FaceEmbeds:
    """Several faces as the old node combines them: the mean of the raw embeddings, which InstantID reads, or side by side."""
    if len(faces) == 1 or how == CONCAT:
        return faces
    rows = faces.identity
    if how == NORM_AVERAGE:  # of each number among the photos, as the pack has it
        rows = rows / rows.norm(dim=0, keepdim=True)
    return replace(faces, identity=rows.mean(dim=0, keepdim=True))


def noise_of(faces: FaceEmbeds, noise: float) -> Tensor:
    """What the unconditional side sees in place of zeros: random numbers whose seed is the face, as the pack makes them."""
    seed = int(faces.identity.sum().item()) % 1000000007
    return noise * torch.rand(faces.identity.shape, generator=torch.Generator().manual_seed(seed))


class Noisy(InstantIDAdapter):
    """An opened adapter whose unconditional side is that of another embedding, nobody [1 or n, 512], than zeros."""

    def __init__(self, adapter: InstantIDAdapter, nobody: Tensor):
        super().__init__(adapter.file.path)  # with a memory of its own
        self.nobody = nobody

    def _sides(self, face_embeds: FaceEmbeds) -> Tensor:
        cond, uncond = (raw_tokens(self.file, one.float()) for one in (face_embeds.identity, self.nobody))
        return by_person(cond, uncond, face_embeds)


NODES = [LoadInstantID, LoadAnalysis, DrawKeypoints, Apply, ApplyAdvanced, PatchAttention, ApplyControl]
