"""PuLID nodes: what sees the structure of a face; adapter file and face embeddings onto a model, SDXL or FLUX.1."""

from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..errors import (
    Cures,
    MissingLibraryError,
    MissingStructureError,
    NotAnAdapterError,
    UnreadableFileError,
    WrongBaseModelError,
    WrongStructureFileError,
    advise,
)
from ..models.face.embeds import FaceEmbeds
from ..models.face.structure.look import FaceStructure
from ..models.identity.pulid.adapter import PulidAdapter
from ..models.identity.pulid.orthogonal import PROJECTIONS, V2
from ..models.published import (
    EVA_CLIP,
    FACE_PARSING,
    PUBLISHED,
    PULID_FLUX,
    PULID_SDXL,
    PULID_SOURCE,
    PublishedFile,
    find_published,
)
from .host import combos, types
from .host.cures import RECOGNISER
from .host.networks.memory import place
from .host.sampling.methods.pulid import apply_pulid
from .host.schema import ADVANCED, newer

STRUCTURE = "Load Face Structure"
TOWER, PARSING = PUBLISHED[EVA_CLIP], PUBLISHED[FACE_PARSING]
STRUCTURE_CURES: Cures = {
    MissingLibraryError: "Install it into ComfyUI's own Python with pip, then restart.",
    WrongStructureFileError: f"Choose {TOWER.file} as vision_file and {PARSING.file} as parsing_file.",
    UnreadableFileError: "Download it again.",
}


def structure_files(file: PublishedFile) -> list[str]:
    """What is in its folder, likely ones first."""
    found: list[str] = folder_paths.get_filename_list(file.folder)
    likely = "eva" if file is TOWER else "bisenet"
    return sorted(found, key=lambda name: likely not in name.lower())


def _wanted(file: PublishedFile) -> str:
    return (
        f"{file.file} -> models/{file.folder}, by: python PACK_FOLDER models download {file.name} ({file.size_and_licence()})"
    )


def _structure_missing(file: PublishedFile) -> combos.Cure:
    def cure(name: str) -> str:
        where = ", ".join(folder_paths.get_folder_paths(file.folder))
        get = (
            f"Get it with `python <pack folder> models download {file.name}`, or download into that folder: {file.in_words()}."
        )
        return combos.not_here(STRUCTURE, name, structure_files(file), where, get)

    return cure


def _path(name: str, file: PublishedFile) -> str:
    combos.require(name, structure_files(file), _structure_missing(file))
    path: str = folder_paths.get_full_path_or_raise(file.folder, name)
    return path


class FaceGenLoadFaceStructure(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenLoadFaceStructure",
            display_name="Load Face Structure (FaceGen)",
            category="FaceGen/face",
            description="Loads the two networks through which PuLID sees a face. One tells the parts of it apart, the other "
            "looks at them. The Python library timm is needed.",
            inputs=[
                io.Combo.Input(
                    "vision_file",
                    options=combos.options(structure_files(TOWER), _wanted(TOWER)),
                    tooltip="EVA02-CLIP-L-14-336 in models/clip_vision: EVA02_CLIP_L_336_psz14_s6B.pt, or timm's file of it.",
                ),
                io.Combo.Input(
                    "parsing_file",
                    options=combos.options(structure_files(PARSING), _wanted(PARSING)),
                    tooltip="The face-parsing network in models/facexlib: parsing_bisenet.pth.",
                ),
            ],
            outputs=[types.FaceStructure.Output(display_name="face_structure")],
            **newer(search="pulid, eva clip, eva02, face parsing, bisenet, facexlib, pulid eva clip loader"),
        )

    @classmethod
    def validate_inputs(cls, vision_file: str | None = None, parsing_file: str | None = None) -> bool | str:
        for value, file in ((vision_file, TOWER), (parsing_file, PARSING)):
            if (told := combos.check(value, structure_files(file), _structure_missing(file))) is not True:
                return told
        return True

    @classmethod
    @advise(STRUCTURE, STRUCTURE_CURES)
    def execute(cls, vision_file: str, parsing_file: str) -> io.NodeOutput:
        tower, parsing = [_path(*chosen) for chosen in ((vision_file, TOWER), (parsing_file, PARSING))]
        return io.NodeOutput(FaceStructure(tower, parsing, place))


FOLDER, SHARED = "pulid", "ipadapter"
SDXL, FLUX = PUBLISHED[PULID_SDXL], PUBLISHED[PULID_FLUX]
WANTED = f"{SDXL.file} or {FLUX.file} -> models/{FOLDER}, from {PULID_SOURCE.removeprefix('https://')}"
LOAD_CURES: Cures = {
    NotAnAdapterError: f"Choose a file such as {SDXL.file} or {FLUX.file}.",
    UnreadableFileError: "Download it again.",
}
APPLY_CURES: Cures = {
    MissingStructureError: "Connect Load Face Structure to face_structure of the Embed Face node.",
    WrongBaseModelError: "Choose the file that fits the model in Load PuLID, or another model.",
    **RECOGNISER,
}


def _files() -> dict[str, str]:
    """Name -> model folder: all in the method's own, and in the one that adapters share those that are called so."""
    shared = [name for name in folder_paths.get_filename_list(SHARED) if "pulid" in name.lower()]
    return dict.fromkeys(shared, SHARED) | dict.fromkeys(folder_paths.get_filename_list(FOLDER), FOLDER)


def _missing(name: str) -> str:
    where = ", ".join(path for folder in (FOLDER, SHARED) for path in folder_paths.get_folder_paths(folder))
    known = find_published(name)
    wanted = [known] if known and known.folder == FOLDER else [SDXL, FLUX]
    files = " or, for FLUX.1, ".join(file.in_words() for file in wanted)
    get = f"Get it with `python <pack folder> models download {wanted[0].name}`, or download into that folder: {files}."
    return combos.not_here("Load PuLID", name, _files(), where, get)


class FaceGenLoadPuLID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenLoadPuLID",
            display_name="Load PuLID (FaceGen)",
            category="FaceGen/face",
            description="Opens a PuLID file for SDXL or FLUX.1 from models/pulid. Its kind is recognised by its tensors.",
            inputs=[
                io.Combo.Input(
                    "pulid_file",
                    options=combos.options(_files(), WANTED),
                    tooltip="PuLID file in models/pulid, or one with pulid in its name in models/ipadapter, e.g. "
                    "pulid_v1.1.safetensors for SDXL or pulid_flux_v0.9.1.safetensors for FLUX.1.",
                ),
            ],
            outputs=[types.PuLID.Output(display_name="pulid")],
            **newer(search="pulid, pulid flux, pulid model loader, load pulid flux model, face id, same person"),
        )

    @classmethod
    def validate_inputs(cls, pulid_file: str | None = None) -> bool | str:
        return combos.check(pulid_file, _files(), _missing)

    @classmethod
    def execute(cls, pulid_file: str) -> io.NodeOutput:
        found = _files()
        combos.require(pulid_file, found, _missing)
        with advise("Load PuLID", LOAD_CURES):
            return io.NodeOutput(PulidAdapter(folder_paths.get_full_path_or_raise(found[pulid_file], pulid_file)))


class FaceGenApplyPuLID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenApplyPuLID",
            display_name="Apply PuLID (FaceGen)",
            category="FaceGen/face",
            description="Makes an SDXL or FLUX.1 model generate this person. Returns a copy; the model that came in is left as "
            "it was.",
            inputs=[
                io.Model.Input("model", tooltip="An SDXL or FLUX.1 model, as the PuLID file was made for."),
                types.PuLID.Input("pulid", tooltip="From Load PuLID."),
                types.FaceEmbeds.Input(
                    "face_embeds",
                    tooltip="From Embed Face, with antelopev2 in Load Face Analyzer and Load Face Structure connected.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=0.0,
                    max=5.0,
                    step=0.01,
                    tooltip="How strongly the person shows. 0.8 is usual for SDXL, 1 for FLUX.1.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When in the sampling the face begins to act. 0 gives the best likeness. 0.2 or so keeps more of "
                    "the prompt's composition on FLUX.1.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When in the sampling the face stops acting.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "projection",
                    options=list(PROJECTIONS),
                    default=V2,
                    tooltip="For SDXL: how the face is kept from overriding the prompt. orthogonal v2 is for likeness, "
                    "orthogonal v1 for strong styles; plain adds the face as it is.",
                    **ADVANCED,
                ),
                io.Int.Input(
                    "num_zero",
                    default=0,
                    min=0,
                    max=80,
                    tooltip="For SDXL: how many empty tokens draw attention off the face; more leave more to the prompt. PuLID "
                    "v1 was shown with 8, and with 16 for strong styles.",
                    **ADVANCED,
                ),
                io.String.Input(
                    "layer_weights",
                    default="",
                    tooltip="Weights per attention block from first to last, e.g. 0:1.0, 3-5:0.4 (others stay 1), or one of: "
                    "linear, ease in, ease out, ease in-out, strong middle, style-friendly. Empty: 1 everywhere.",
                    **ADVANCED,
                ),
                io.Mask.Input("mask", optional=True, tooltip="The face acts only where the mask is white."),
            ],
            outputs=[io.Model.Output(display_name="model")],
            **newer(search="pulid, apply pulid, pulid flux, apply pulid flux, face id, consistent character, same person"),
        )

    @classmethod
    @advise("Apply PuLID", APPLY_CURES)
    def execute(
        cls,
        model: Any,
        pulid: PulidAdapter,
        face_embeds: FaceEmbeds,
        weight: float,
        start_percent: float,
        end_percent: float,
        projection: str,
        num_zero: int,
        layer_weights: str,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(
            apply_pulid(
                model,
                pulid,
                face_embeds,
                weight=weight,
                projection=projection,
                num_zero=num_zero,
                percent_range=(start_percent, end_percent),
                layer_weights=layer_weights,
                mask=mask,
            )
        )


NODES = [FaceGenLoadFaceStructure, FaceGenLoadPuLID, FaceGenApplyPuLID]
