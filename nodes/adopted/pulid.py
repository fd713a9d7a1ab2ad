"""The nodes of PuLID_ComfyUI and of the PuLID-Flux packs."""

from typing import Any, NamedTuple

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ...adoption.packs import pulid as old
from ...adoption.packs.pulid import EXACTLY, FACE_PACK, FUSIONS, METHODS, PROJECTIONS
from ...errors import (
    Cures,
    FaceGenError,
    MissingLibraryError,
    NoFaceError,
    NotAnAdapterError,
    UnreadableFileError,
    WrongBaseModelError,
    WrongRecogniserError,
    WrongStructureFileError,
    advise,
)
from ...models.face.analysis import FaceAnalysis, aligned_crop, select_faces, to_bgr
from ...models.face.annotate import annotate, as_batch
from ...models.face.photo_to_embeds import embed_photos
from ...models.face.structure.look import FaceStructure
from ...models.identity.pulid.adapter import PulidAdapter
from ...models.pictures import require_rgb, watched
from ...models.published import EVA_CLIP, FACE_PARSING, PUBLISHED, PublishedFile
from ..host import reports
from ..host.cures import FACE_PACK as FACE_PACK_CURES
from ..host.cures import INSIGHTFACE, PICTURES
from ..host.networks.memory import place
from ..host.reports import warn
from ..host.sampling.methods.pulid import apply_pulid
from ..pulid import structure_files
from .parts import check_file, face_analysis, file_path
from .schema import Adopted

LOAD_CURES: Cures = {
    NotAnAdapterError: "Choose a file such as pulid_v1.1.safetensors or pulid_flux_v0.9.1.safetensors.",
    WrongStructureFileError: "Use Load Face Structure, Embed Face and Apply PuLID instead, where the files can be chosen.",
    UnreadableFileError: "Download it again.",
    **INSIGHTFACE,
}
EVA_CURES: Cures = {**LOAD_CURES, MissingLibraryError: "Install it into ComfyUI's own Python with pip, then restart."}
APPLY_CURES: Cures = {
    WrongBaseModelError: "Choose the PuLID file that fits the model, or another model.",
    WrongRecogniserError: f"Choose {FACE_PACK} in the node that loads the face analysis.",
    NoFaceError: "Use another photo.",
    **FACE_PACK_CURES,
    **PICTURES,
}


MARGIN, UPRIGHT = 10, 512  # pixels: around a face that is cut out, and the side of one that is turned upright


# ComfyUI keeps a node's outputs on its class, so no node is made from another one.
class PuLIDLoader(Adopted):
    """What the loaders of PuLID's file have in common."""

    @classmethod
    def validate_inputs(cls, pulid_file: str | None = None) -> bool | str:
        return check_file(cls.OLD, pulid_file)

    @classmethod
    def execute(cls, pulid_file: str) -> io.NodeOutput:
        with advise(cls.OLD.title, LOAD_CURES):
            return io.NodeOutput(PulidAdapter(file_path(cls.OLD, pulid_file)))


class LoadPuLID(PuLIDLoader):
    OLD = old.MODEL_LOADER


class LoadPuLIDFlux(PuLIDLoader):
    OLD = old.FLUX_MODEL_LOADER


class AnalysisLoader(Adopted):
    """What the loaders of the face analysis have in common."""

    @classmethod
    def execute(cls, provider: str) -> io.NodeOutput:
        with advise(cls.OLD.title, LOAD_CURES):
            return io.NodeOutput(face_analysis(FACE_PACK, provider))


class LoadAnalysis(AnalysisLoader):
    OLD = old.ANALYSIS_LOADER


class LoadAnalysisFlux(AnalysisLoader):
    OLD = old.FLUX_ANALYSIS_LOADER


class StructureLoader(Adopted):
    """What the loaders of the networks that see a face have in common."""

    @classmethod
    def execute(cls) -> io.NodeOutput:
        with advise(cls.OLD.title, EVA_CURES):
            tower, parsing = (likeliest(PUBLISHED[name]) for name in (EVA_CLIP, FACE_PARSING))
            return io.NodeOutput(FaceStructure(tower, parsing, place))


class LoadStructure(StructureLoader):
    OLD = old.EVA_LOADER


class LoadStructureFlux(StructureLoader):
    OLD = old.FLUX_EVA_LOADER


def likeliest(file: PublishedFile) -> str:
    """Path of the published file, or of what is called most like it in its folder. Raises FaceGenError when that is empty."""
    found = structure_files(file)
    if not found:
        raise FaceGenError(
            f"{file.file} is missing: models/{file.folder} is empty. Get it with `python <pack folder> models download "
            f"{file.name}`, or download into that folder: {file.in_words()}."
        )
    path: str = folder_paths.get_full_path_or_raise(file.folder, file.file if file.file in found else found[0])
    return path


class Choice(NamedTuple):
    """What goes over an OPTIONS link: which face of each photo."""

    select: str = "largest"
    face_index: int = 0


class ChooseFace(Adopted):
    OLD = old.FLUX_OPTIONS

    @classmethod
    def execute(cls, input_faces_order: str, input_faces_index: int, input_faces_align_mode: int) -> io.NodeOutput:
        select, index, as_asked = old.select(input_faces_order, input_faces_index)
        if not as_asked:
            warn(f"face number {input_faces_index} in the order {input_faces_order!r} can't be chosen, so it is the largest.")
        return io.NodeOutput(Choice(select, index))


class ShowFaces(Adopted):
    OLD = old.DETECTOR

    @classmethod
    @advise(OLD.title, {**FACE_PACK_CURES, **PICTURES})
    def execute(cls, face_analysis: FaceAnalysis, image: Tensor, options: Choice) -> io.NodeOutput:
        require_rgb(image)
        cut, upright, marked = [], [], []
        for _, photo in watched(image, reports.progress()):
            bgr, (height, width) = to_bgr(photo), photo.shape[:2]
            if not (faces := face_analysis.detect(bgr)):
                continue
            (face,) = select_faces(faces, options.select, height, width, options.face_index)
            x0, y0, x1, y1 = (int(side) for side in face.bbox)
            part = photo[max(0, y0 - MARGIN) : y1 + MARGIN, max(0, x0 - MARGIN) : x1 + MARGIN]
            cut.append(part[None].clone())
            upright.append(aligned_crop(bgr, face, UPRIGHT)[None])
            marked.append(as_batch([annotate(bgr, faces, [face])]))
        if not cut:
            warn("no face was found, so there is none to show.")
        return io.NodeOutput(cut, upright, marked)


class GiveOn(Adopted):
    OLD = old.FLUX_FIX

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        return io.NodeOutput(model)


class Apply(Adopted):
    OLD = old.APPLY

    @classmethod
    @advise(OLD.title, APPLY_CURES)
    def execute(cls, method: str, **inputs: Any) -> io.NodeOutput:
        projection, num_zero = METHODS[method]
        return io.NodeOutput(apply(projection=PROJECTIONS[projection], num_zero=num_zero, **inputs))


class ApplyAdvanced(Adopted):
    OLD = old.APPLY_ADVANCED

    @classmethod
    @advise(OLD.title, APPLY_CURES)
    def execute(cls, projection: str, fidelity: int, noise: float, **inputs: Any) -> io.NodeOutput:
        if noise != 0:
            warn(f"noise {noise:g} is not used: the unconditional side sees zeros, as in the published method.")
        return io.NodeOutput(apply(projection=PROJECTIONS[projection], num_zero=fidelity, **inputs))


class ApplyFlux(Adopted):
    OLD = old.FLUX_APPLY

    @classmethod
    @advise(OLD.title, APPLY_CURES)
    def execute(
        cls,
        pulid_flux: PulidAdapter,
        image: Tensor,
        fusion: str = EXACTLY[0],
        fusion_weight_max: float = 1.0,
        fusion_weight_min: float = 0.0,
        train_step: int = 1000,
        use_gray: bool = True,
        options: Choice | None = None,
        prior_image: Tensor | None = None,
        **inputs: Any,
    ) -> io.NodeOutput:
        said = [] if use_gray else ["use_gray off is not used: PuLID reads the face in grey."]
        if fusion not in EXACTLY and len(image) > 1:
            said.append(f"fusion {fusion!r} is taken as 'mean'.")
        if said:
            warn(" ".join(said))
        return io.NodeOutput(apply(pulid_flux, image, combine=FUSIONS.get(fusion, "average"), face=options, **inputs))


def apply(
    pulid: PulidAdapter,
    image: Tensor,
    model: Any,
    eva_clip: FaceStructure,
    face_analysis: FaceAnalysis,
    weight: float,
    start_at: float,
    end_at: float,
    attn_mask: Tensor | None = None,
    combine: str = "average",
    face: Choice | None = None,
    **kind: Any,
) -> Any:
    """A clone of `model` that generates the person. Photos without a face are left out; `kind`: projection and num_zero."""
    select, index = face or Choice()
    photos = embed_photos(
        face_analysis,
        image,
        None,
        eva_clip.look,
        select=select,
        face_index=index,
        combine=combine,
        skip=True,
        watch=reports.progress(),
    )
    faces, between = photos.face_embeds, (start_at, end_at)
    return apply_pulid(model, pulid, faces, weight=weight, percent_range=between, mask=attn_mask, **kind)


NODES = [
    *(LoadPuLID, LoadAnalysis, LoadStructure, Apply, ApplyAdvanced),
    *(LoadPuLIDFlux, LoadAnalysisFlux, LoadStructureFlux, ApplyFlux, ChooseFace, ShowFaces, GiveOn),
]
