"""InstantID nodes: adapter file, face embeddings and ControlNet onto a model and its conditionings."""

from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..errors import (
    Cures,
    FaceGenError,
    NoKeypointsError,
    NotAnAdapterError,
    UnreadableFileError,
    WrongBaseModelError,
    WrongRecogniserError,
    advise,
)
from ..models.face.embeds import FaceEmbeds
from ..models.identity.instantid.adapter import InstantIDAdapter
from ..models.published import INSTANTID, INSTANTID_CONTROLNET, INSTANTID_SOURCE, PUBLISHED, find_published
from . import types
from .host import combos
from .host.cures import PICTURES
from .host.sampling.methods.instantid import CONTROL_STRENGTH, WEIGHT, apply_instantid
from .host.schema import ADVANCED, newer

FOLDERS = ("instantid", "ipadapter")  # the first is looked into first
USUAL, CONTROLNET = PUBLISHED[INSTANTID], PUBLISHED[INSTANTID_CONTROLNET]
SOURCE = INSTANTID_SOURCE.removeprefix("https://")
WANTED = f"{USUAL.file} -> models/{FOLDERS[0]}, from {SOURCE} ({USUAL.size_and_licence()})"
PACK = InstantIDAdapter.pack
LOAD_CURES: Cures = {
    NotAnAdapterError: f"Choose InstantID's {USUAL.file} from the models/{FOLDERS[0]} folder. For a FaceID file, use Load "
    "FaceID and Apply FaceID.",
    UnreadableFileError: "Download it again.",
}
APPLY_CURES: Cures = {
    WrongBaseModelError: f"InstantID needs an SDXL checkpoint in Load Checkpoint and {CONTROLNET.file} in Load ControlNet "
    "Model.",
    WrongRecogniserError: f"Embed the photo again with the pack {PACK}: choose it in Load Face Analyzer.",
    NoKeypointsError: "Connect Face Keypoints to keypoints, with a photo that shows the pose.",
    **PICTURES,
}


def _files() -> dict[str, str]:
    """Name -> folder of each file to choose from."""
    files: dict[str, str] = {}
    for folder in FOLDERS:
        for name in folder_paths.get_filename_list(folder):
            files.setdefault(name, folder)
    return files


def _missing(name: str) -> str:
    where = ", ".join(path for folder in FOLDERS for path in folder_paths.get_folder_paths(folder))
    known = find_published(name)
    wanted = known if known and known.folder in FOLDERS else USUAL
    get = (
        f"Get it with `python <pack folder> models download {wanted.name}`, or download {wanted.in_words()} into "
        f"models/{wanted.folder}."
    )
    return combos.not_here("Load InstantID", name, list(_files()), where, get)


class FaceGenLoadInstantID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenLoadInstantID",
            display_name="Load InstantID (FaceGen)",
            category="FaceGen/face",
            description="Opens InstantID's adapter from models/instantid or models/ipadapter. It is recognised by its tensors, "
            "so the file may have any name.",
            inputs=[
                io.Combo.Input(
                    "instantid_file",
                    options=combos.options(list(_files()), WANTED),
                    tooltip="InstantID's ip-adapter.bin, or the same as .safetensors, in models/instantid or models/ipadapter. "
                    "Its ControlNet is a file of its own.",
                ),
            ],
            outputs=[types.InstantID.Output(display_name="instantid")],
            **newer(search="instant id, instantid, load instantid model, instantx, ip-adapter, ipadapter, identitynet"),
        )

    @classmethod
    def validate_inputs(cls, instantid_file: str | None = None) -> bool | str:
        return combos.check(instantid_file, _files(), _missing)

    @classmethod
    def execute(cls, instantid_file: str) -> io.NodeOutput:
        files = _files()
        combos.require(instantid_file, files, _missing)
        with advise("Load InstantID", LOAD_CURES):
            return io.NodeOutput(InstantIDAdapter(folder_paths.get_full_path_or_raise(files[instantid_file], instantid_file)))


class FaceGenApplyInstantID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenApplyInstantID",
            display_name="Apply InstantID (FaceGen)",
            category="FaceGen/face",
            description="Makes an SDXL model generate this person, with the face where the key points are. Returns copies; "
            "what came in is left as it was.",
            inputs=[
                io.Model.Input("model", tooltip="An SDXL model."),
                types.InstantID.Input("instantid", tooltip="From Load InstantID."),
                types.FaceEmbeds.Input("face_embeds", tooltip="From Embed Face, with the model pack antelopev2."),
                io.Conditioning.Input("positive", tooltip="What the picture should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show."),
                io.ControlNet.Input("control_net", tooltip="InstantID's own ControlNet, from Load ControlNet Model."),
                io.Image.Input(
                    "keypoints",
                    optional=True,
                    tooltip="From Face Keypoints: where the face is to be. Without it, the face is where it is in its photo.",
                ),
                io.Float.Input(
                    "weight",
                    default=WEIGHT,
                    min=0.0,
                    max=3.0,
                    step=0.01,
                    tooltip="How strongly the person shows in the model's attention. 0 leaves the ControlNet alone.",
                ),
                io.Float.Input(
                    "control_strength",
                    default=CONTROL_STRENGTH,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Strength of the ControlNet, which holds the face in its place and adds to the likeness.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When in the sampling face and ControlNet begin to act.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When in the sampling face and ControlNet stop acting.",
                    **ADVANCED,
                ),
                io.String.Input(
                    "layer_weights",
                    default="",
                    tooltip="Weights per attention block from first to last, e.g. 0:1.0, 3-5:0.4 (others stay 1), or one of: "
                    "linear, ease in, ease out, ease in-out, strong middle, style-friendly. Empty: 1 everywhere.",
                    **ADVANCED,
                ),
                io.Mask.Input("mask", optional=True, tooltip="Face and ControlNet act only where the mask is white."),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
            **newer(search="instant id, instantid, ipadapter, identitynet, face id, consistent character, same person"),
        )

    @classmethod
    @advise("Apply InstantID", APPLY_CURES)
    def execute(
        cls,
        model: Any,
        instantid: InstantIDAdapter,
        face_embeds: FaceEmbeds,
        positive: Any,
        negative: Any,
        control_net: Any,
        weight: float,
        control_strength: float,
        start_percent: float,
        end_percent: float,
        layer_weights: str,
        keypoints: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        if start_percent > end_percent:
            raise FaceGenError(f"start_percent {start_percent:g} lies after end_percent {end_percent:g}.")
        return io.NodeOutput(
            *apply_instantid(
                model,
                instantid,
                face_embeds,
                positive,
                negative,
                control_net,
                keypoints,
                weight=weight,
                control_strength=control_strength,
                percent_range=(start_percent, end_percent),
                layer_weights=layer_weights,
                mask=mask,
            )
        )


NODES = [FaceGenLoadInstantID, FaceGenApplyInstantID]
