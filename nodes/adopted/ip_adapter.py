"""The nodes of ComfyUI_IPAdapter_plus that carry FaceID."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...adoption.packs import ip_adapter as old
from ...adoption.packs.ip_adapter import FACE_PACK, PRESETS
from ...adoption.packs.weight_types import block_weights
from ...errors import (
    Cures,
    FaceGenError,
    MissingClipVisionError,
    NoFaceError,
    NotAnAdapterError,
    UnreadableFileError,
    WrongBaseModelError,
    WrongClipVisionError,
    WrongRecogniserError,
    advise,
)
from ...models.face.analysis import FaceAnalysis
from ...models.face.combine import combine_faces
from ...models.face.embeds import FaceEmbeds
from ...models.face.photo_to_embeds import EmbeddedPhotos, embed_photos
from ...models.identity.faceid.adapter import FaceIDAdapter
from ..host import reports
from ..host.clip_states import encode_clip_vision
from ..host.cures import FACE_PACK as FACE_PACK_CURES
from ..host.cures import INSIGHTFACE, PICTURES
from ..host.reports import warn
from ..host.sampling.attention_patch import add_face
from ..host.sampling.mask_region import Region
from ..host.sampling.methods.faceid import apply_lora
from ..host.sampling.unet_blocks import matching_blocks
from .parts import Pipeline, adapter_of_kind, check_file, clip_vision_for, face_analysis, file_path
from .scaling import KeysValues, places, weighed
from .schema import Adopted

LOAD_CURES: Cures = {
    NotAnAdapterError: f"For an IP-Adapter that isn't FaceID, install {old.PACK} and use its own nodes.",
    UnreadableFileError: "Download it again.",
    **INSIGHTFACE,
}
APPLY_CURES: Cures = {
    MissingClipVisionError: "Connect that model to clip_vision, by a Load CLIP Vision node.",
    WrongClipVisionError: "Change the file in Load CLIP Vision.",
    WrongBaseModelError: "Choose the FaceID file that fits the checkpoint, or another checkpoint.",
    WrongRecogniserError: f"Choose {FACE_PACK} in the InsightFace loader.",
    NoFaceError: "Use another photo.",
    **FACE_PACK_CURES,
    **PICTURES,
}
AVERAGED = ("average", "add", "norm average")  # in our numbers these point the same way, or nearly


class LoadByPreset(Adopted):
    OLD = old.UNIFIED_LOADER

    @classmethod
    @advise(OLD.title, LOAD_CURES)
    def execute(cls, model: Any, preset: str, lora_strength: float, provider: str, ipadapter: Any = None) -> io.NodeOutput:
        adapter = adapter_of_kind(model, PRESETS[preset])
        pipeline = Pipeline(adapter, clip_vision_for(adapter), face_analysis(FACE_PACK, provider))
        return io.NodeOutput(apply_lora(model, adapter, matching_blocks(model, adapter), lora_strength), pipeline)


class LoadFile(Adopted):
    OLD = old.MODEL_LOADER

    @classmethod
    def validate_inputs(cls, ipadapter_file: str | None = None) -> bool | str:
        return check_file(cls.OLD, ipadapter_file)

    @classmethod
    @advise(OLD.title, LOAD_CURES)
    def execute(cls, ipadapter_file: str) -> io.NodeOutput:
        return io.NodeOutput(Pipeline(FaceIDAdapter(file_path(cls.OLD, ipadapter_file))))


# ComfyUI keeps a node's outputs on its class, so no node is made from another one.
class InsightFaceLoader(Adopted):
    """What the loaders of the face analysis have in common."""

    @classmethod
    def execute(cls, provider: str, model_name: str = FACE_PACK) -> io.NodeOutput:
        with advise(cls.OLD.title, LOAD_CURES):
            return io.NodeOutput(face_analysis(model_name, provider))


class LoadInsightFace(InsightFaceLoader):
    OLD = old.INSIGHTFACE_LOADER


class FirstLoadInsightFace(InsightFaceLoader):
    OLD = old.FIRST_INSIGHTFACE_LOADER


class Applier(Adopted):
    """What the nodes that apply FaceID have in common."""

    PER_IMAGE = False

    @classmethod
    def validate_inputs(cls, weight_type: str | None = None) -> bool | str:
        known = next(one.options for one in cls.OLD.inputs if one.name == "weight_type")
        if weight_type is None or old.EARLIER_NAMES.get(weight_type, weight_type) in known:
            return True
        return f"{cls.OLD.title}: weight_type {weight_type!r} isn't known. Choose one of: {', '.join(known)}."

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        with advise(cls.OLD.title, APPLY_CURES):
            one_number(inputs["weight"])
            made = apply(per_image=cls.PER_IMAGE, **old.as_faceid(cls.OLD, inputs))
            return io.NodeOutput(*made[: len(cls.OLD.outputs)])


class ApplyFaceID(Applier):
    OLD = old.FACEID


class ApplyFaceIDBatch(Applier):
    OLD = old.FACEID_BATCH
    PER_IMAGE = True


class ApplyAdvanced(Applier):
    OLD = old.ADVANCED


class ApplySimple(Applier):
    OLD = old.SIMPLE


class FirstApply(Adopted):
    OLD = old.FIRST_FACEID

    @classmethod
    @advise(OLD.title, APPLY_CURES)
    def execute(cls, noise: float, faceid_v2: bool, weight_v2: float, unfold_batch: bool, **inputs: Any) -> io.NodeOutput:
        values = old.as_faceid(cls.OLD, {"weight_v2": weight_v2, **inputs})
        del values["weight_v2"]
        variant = values["ipadapter"].adapter.variant
        said = []
        if noise != 0:
            said.append(f"noise {noise:g} is not used: the unconditional side sees no face, as in the published method.")
        if variant.clip_dim and variant.shortcut != faceid_v2:
            said.append(f"faceid_v2 is not used: the file is {variant.name}.")
        return io.NodeOutput(apply(per_image=unfold_batch, said=said, **values)[0])


def apply(
    model: Any,
    ipadapter: Pipeline,
    image: Tensor,
    weight: float,
    weight_faceidv2: float,
    weight_type: str,
    combine_embeds: str,
    start_at: float,
    end_at: float,
    embeds_scaling: str,
    image_negative: Tensor | None = None,
    attn_mask: Tensor | None = None,
    clip_vision: Any = None,
    insightface: FaceAnalysis | None = None,
    per_image: bool = False,
    said: Sequence[str] = (),
) -> tuple[Any, Tensor]:
    """A clone of `model` that generates the person, and the aligned faces [n, 224, 224, 3]. said: what else is to be told."""
    adapter = ipadapter.adapter
    blocks = matching_blocks(model, adapter)
    analysis = insightface or ipadapter.face_analysis
    if analysis is None:
        raise FaceGenError("No face analysis is connected. Connect IPAdapter InsightFace Loader to insightface.")
    vision = (clip_vision or ipadapter.clip_vision) if adapter.variant.clip_dim else None
    encode = None if vision is None else lambda crops: encode_clip_vision(vision, crops)
    how = "one per image" if per_image else "concat"
    photos = embed_photos(analysis, image, encode, combine=how, watch=reports.progress())
    faces, more = one_person(photos, "concat" if per_image else combine_embeds)
    said = [*said, *more]
    if image_negative is not None:
        faces, more = with_negative(faces, vision, image_negative)
        said += more
    strength = one_number(weight)
    base = "sdxl" if adapter.variant.context_dim == 2048 else "sd15"
    weights = block_weights(weight_type, strength, base, places(blocks))
    at_strength = keys_values_at(adapter, faces, weight_faceidv2)
    keys_values, left = weighed(at_strength, blocks, weights, embeds_scaling, adapter.variant.tokens)
    if said:
        warn(" ".join(said))
    patched = model.clone()
    add_face(patched, blocks, keys_values, left, (start_at, end_at), Region.of(attn_mask))
    return patched, photos.crops


def one_number(weight: Any) -> float:
    """The weight. Raises FaceGenError for a list, one number for each frame, as another of the old pack's nodes gives."""
    if isinstance(weight, list | tuple):
        raise FaceGenError(f"weight is a list of {len(weight)} numbers, and FaceGen takes one for all pictures. Type it in.")
    return float(weight)


def keys_values_at(adapter: FaceIDAdapter, faces: FaceEmbeds, s_scale: float) -> KeysValues:
    """Keys and values for any s_scale. The contract has a range; they are linear in it, and the old pack goes beyond."""
    none, one = adapter.keys_values(faces, 0.0), adapter.keys_values(faces, 1.0)
    return [(k0 + s_scale * (k1 - k0), v0 + s_scale * (v1 - v0)) for (k0, v0), (k1, v1) in zip(none, one, strict=True)]


def one_person(photos: EmbeddedPhotos, combine: str) -> tuple[FaceEmbeds, list[str]]:
    """The faces combined as the old node was told, and what is to be said of it."""
    faces = photos.face_embeds
    if len(faces) == 1 or combine == "concat":
        return faces, []
    if combine in AVERAGED:
        said = [] if combine == "average" else [f"combine_embeds {combine!r} is taken as 'average'."]
        return faces.combined("average"), said
    rows = {f"photo {row}": _row(faces, row) for row in range(len(faces))}
    share = 1 / (len(rows) - 1)
    return combine_faces(rows, {name: 1.0 if name == "photo 0" else share for name in rows}, "subtract"), []


def _row(faces: FaceEmbeds, row: int) -> FaceEmbeds:
    hidden = None if faces.clip_hidden is None else faces.clip_hidden[row : row + 1]
    return replace(faces, identity=faces.identity[row : row + 1], clip_hidden=hidden, faces=faces.faces[row : row + 1])


def with_negative(faces: FaceEmbeds, vision: Any, image: Tensor) -> tuple[FaceEmbeds, list[str]]:
    """The faces with the states of another picture on the unconditional side, and what is to be said of it."""
    if vision is None:
        return faces, ["image_negative is not used: only Plus and PlusV2 read it."]
    said = ["Of the pictures in image_negative only the first is used."] if len(image) > 1 else []
    return replace(faces, clip_hidden_zero=encode_clip_vision(vision, image[:1].cpu())[0]), said


NODES = [
    *(LoadByPreset, LoadFile, LoadInsightFace, FirstLoadInsightFace),
    *(ApplyFaceID, ApplyFaceIDBatch, ApplyAdvanced, ApplySimple, FirstApply),
]
