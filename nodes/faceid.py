"""FaceID nodes: adapter file and face embeddings onto a model."""

from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..errors import (
    Cures,
    MissingClipVisionError,
    NotAnAdapterError,
    UnreadableFileError,
    WrongBaseModelError,
    WrongClipVisionError,
    advise,
)
from ..models.face.embeds import FaceEmbeds
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.published import FACEID_SD15, FACEID_SDXL, FACEID_SOURCE, PUBLISHED, find_published
from .host import combos, types
from .host.cures import RECOGNISER
from .host.sampling.methods.faceid import apply_faceid
from .host.schema import ADVANCED, newer
from .host.widgets import S_SCALE, widget

FOLDER = "ipadapter"
USUAL, USUAL_SDXL = PUBLISHED[FACEID_SD15], PUBLISHED[FACEID_SDXL]
WANTED = f"{USUAL.file} -> models/{FOLDER}, from {FACEID_SOURCE.removeprefix('https://')} ({USUAL.size_and_licence()})"
LOAD_CURES: Cures = {
    NotAnAdapterError: f"Choose a file such as {USUAL.file} from the models/{FOLDER} folder.",
    UnreadableFileError: "Download it again.",
}
APPLY_CURES: Cures = {
    MissingClipVisionError: "Connect that model to clip_vision of the Embed Face node.",
    WrongClipVisionError: "Change the file in Load CLIP Vision.",
    WrongBaseModelError: "Choose the FaceID file that fits the checkpoint in Load FaceID, or another checkpoint.",
    **RECOGNISER,
}


def _missing(name: str) -> str:
    where = ", ".join(folder_paths.get_folder_paths(FOLDER))
    known = find_published(name)
    wanted = [known] if known and known.folder == FOLDER else [USUAL, USUAL_SDXL]
    files = " or, for SDXL, ".join(file.in_words() for file in wanted)
    get = f"Get it with `python <pack folder> models download {wanted[0].name}`, or download into that folder: {files}."
    return combos.not_here("Load FaceID", name, folder_paths.get_filename_list(FOLDER), where, get)


class FaceGenLoadFaceID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenLoadFaceID",
            display_name="Load FaceID (FaceGen)",
            category="FaceGen/face",
            description="Opens a FaceID adapter from models/ipadapter. Its kind is recognised by its tensors, so the file may "
            "have any name. Its LoRA is inside; no second file is needed.",
            inputs=[
                io.Combo.Input(
                    "faceid_file",
                    options=combos.options(folder_paths.get_filename_list(FOLDER), WANTED),
                    tooltip="FaceID file (.safetensors or .bin) in models/ipadapter, e.g. ip-adapter-faceid-plusv2_sd15.bin.",
                ),
            ],
            outputs=[types.FaceID.Output(display_name="faceid")],
            **newer(
                search="face id, ip-adapter, ipadapter, ip-adapter-faceid, ipadapter faceid, ipadapter model loader, plusv2"
            ),
        )

    @classmethod
    def validate_inputs(cls, faceid_file: str | None = None) -> bool | str:
        return combos.check(faceid_file, folder_paths.get_filename_list(FOLDER), _missing)

    @classmethod
    def execute(cls, faceid_file: str) -> io.NodeOutput:
        combos.require(faceid_file, folder_paths.get_filename_list(FOLDER), _missing)
        with advise("Load FaceID", LOAD_CURES):
            return io.NodeOutput(FaceIDAdapter(folder_paths.get_full_path_or_raise(FOLDER, faceid_file)))


class FaceGenApplyFaceID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenApplyFaceID",
            display_name="Apply FaceID (FaceGen)",
            category="FaceGen/face",
            description="Makes the model generate this person. Returns a copy; the model that came in is left as it was.",
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5 or SDXL model that fits the FaceID file."),
                types.FaceID.Input("faceid", tooltip="From Load FaceID."),
                types.FaceEmbeds.Input("face_embeds", tooltip="From Embed Face."),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.01,
                    tooltip="How strongly the person shows. 0 leaves only the LoRA; use 0.7 to 0.9 for stylised pictures.",
                ),
                io.Float.Input(
                    "s_scale",
                    **widget("s_scale", step=0.01, tooltip=S_SCALE),
                ),
                io.Float.Input(
                    "lora_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Strength of the adapter's own LoRA. The adapter was trained with it at 1.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When in the sampling the face begins to act. A later start keeps more of the prompt's "
                    "composition.",
                    **ADVANCED,
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
            **newer(
                search="face id, ip-adapter, ipadapter, ipadapter faceid, instantid, pulid, consistent character, same person"
            ),
        )

    @classmethod
    @advise("Apply FaceID", APPLY_CURES)
    def execute(
        cls,
        model: Any,
        faceid: FaceIDAdapter,
        face_embeds: FaceEmbeds,
        weight: float,
        s_scale: float,
        lora_strength: float,
        start_percent: float,
        end_percent: float,
        layer_weights: str,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(
            apply_faceid(
                model,
                faceid,
                face_embeds,
                weight=weight,
                s_scale=s_scale,
                lora_strength=lora_strength,
                percent_range=(start_percent, end_percent),
                layer_weights=layer_weights,
                mask=mask,
            )
        )


NODES = [FaceGenLoadFaceID, FaceGenApplyFaceID]
