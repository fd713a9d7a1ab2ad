"""InstantID nodes: adapter, face and ControlNet onto a model and its conditionings, and where the face is to be."""

from typing import Any

import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..errors import (
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
from ..models.face.analysis import SELECT, FaceAnalysis, select_faces, to_bgr
from ..models.face.embeds import FaceEmbeds
from ..models.face.keypoints import CENTRE, SCALE, Place, are_placed, as_in_photo, draw_keypoints, faces_to_draw, fitted
from ..models.identity.instantid.adapter import InstantIDAdapter
from ..models.pictures import require_rgb, watched
from ..models.published import INSTANTID, INSTANTID_CONTROLNET, INSTANTID_SOURCE, PUBLISHED, find_published
from .host import combos, reports, types
from .host.cures import FACE_PACK, PICTURES
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
PHOTO, FITTED = "as in the photo", "fitted"
SIDE = {"default": 1016, "min": 64, "max": 16384, "step": 8}
SHARE = {"min": 0.0, "max": 1.0, "step": 0.01}
NO_SIZE = (
    "these face embeds come from an older file and don't say how large the photo was, so the face is fitted into the frame "
    f"at the usual place and size ({CENTRE[0]:g}, {CENTRE[1]:g}, {SCALE:g})."
)
KEYPOINTS_CURES: Cures = {
    NoFaceError: "Use another photo, or lower min_confidence on the Load Face Analyzer node.",
    NoKeypointsError: "Embed the photo again with Embed Face, or connect it to image.",
    **FACE_PACK,
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


class FaceGenFaceKeypoints(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenFaceKeypoints",
            display_name="Face Keypoints (FaceGen)",
            category="FaceGen/face",
            description="Draws the five points of a face as InstantID's ControlNet reads them: where the face is to be, how "
            "large, and which way it looks. They may come from another photo than the person.",
            inputs=[
                io.Int.Input("width", tooltip="Width of the picture to be generated.", **SIDE),
                io.Int.Input("height", tooltip="Height of the picture to be generated.", **SIDE),
                io.Combo.Input(
                    "placement",
                    options=[PHOTO, FITTED],
                    default=PHOTO,
                    tooltip="as in the photo: the whole photo is fitted into the frame, and the face is where it is in it. "
                    "fitted: at center_x, center_y and scale.",
                ),
                io.Float.Input(
                    "center_x",
                    default=CENTRE[0],
                    tooltip="fitted: the middle of the face, 0 at the left, 1 at the right.",
                    **SHARE,
                ),
                io.Float.Input(
                    "center_y",
                    default=CENTRE[1],
                    tooltip="fitted: the middle of the face, 0 at the top, 1 at the bottom.",
                    **SHARE,
                ),
                io.Float.Input(
                    "scale",
                    default=SCALE,
                    min=0.05,
                    max=2.0,
                    step=0.01,
                    tooltip="fitted: the share of the frame that the face takes from forehead to chin, or all faces together.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="A photo with the pose, or a batch: one hint image for each. Needs face_analysis.",
                ),
                types.FaceAnalysis.Input("face_analysis", optional=True, tooltip="From Load Face Analyzer, for image."),
                types.FaceEmbeds.Input(
                    "face_embeds",
                    optional=True,
                    tooltip="In place of image: from Embed Face. Of several photos of one person the first counts; with one "
                    "face per image there is a hint image for each.",
                ),
                io.Combo.Input(
                    "select",
                    optional=True,
                    options=list(SELECT),
                    default="largest",
                    tooltip="With image: which face of each photo is drawn; all draws every one.",
                ),
                io.Int.Input(
                    "face_index",
                    optional=True,
                    default=0,
                    min=0,
                    max=99,
                    tooltip="With select = by index: which face, counted from the left, 0 first.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="keypoints", tooltip="For Apply InstantID: coloured points and limbs on black."),
            ],
            **newer(search="instantid, face keypoints, face pose, landmarks, kps, controlnet, identitynet, pose"),
        )

    @classmethod
    @advise("Face Keypoints", KEYPOINTS_CURES)
    def execute(
        cls,
        width: int,
        height: int,
        placement: str,
        center_x: float,
        center_y: float,
        scale: float,
        image: Tensor | None = None,
        face_analysis: FaceAnalysis | None = None,
        face_embeds: FaceEmbeds | None = None,
        select: str = "largest",
        face_index: int = 0,
    ) -> io.NodeOutput:
        said = ""
        if (image is None) == (face_embeds is None):
            raise FaceGenError("Connect either image (with face_analysis) or face_embeds, and not both.")
        if face_embeds is not None:
            pictures = faces_to_draw(face_embeds)
            if placement == PHOTO and not all(map(are_placed, pictures)):
                said, placement = NO_SIZE, FITTED
                center_x, center_y, scale = *CENTRE, SCALE
                reports.warn(said)
        elif face_analysis is None:
            raise FaceGenError("To find the face in image, connect Load Face Analyzer to face_analysis.")
        else:
            pictures = _found(face_analysis, image, select, face_index)
        if placement == PHOTO:
            points = [as_in_photo(faces, width, height) for faces in pictures]
        else:
            points = [fitted(faces, width, height, (center_x, center_y), scale) for faces in pictures]
        drawn = torch.stack([draw_keypoints(one, width, height) for one in points])
        return io.NodeOutput(drawn, ui=reports.report(said, drawn))


def _found(face_analysis: FaceAnalysis, image: Any, select: str, face_index: int) -> list[list[Place]]:
    """The chosen faces of each photo."""
    require_rgb(image)
    pictures: list[list[Place]] = []
    for _, photo in watched(image, reports.progress()):
        height, width = photo.shape[:2]
        faces = face_analysis.detect(to_bgr(photo))
        if not faces:
            raise face_analysis.no_face(height, width)
        chosen = select_faces(faces, select, height, width, face_index)
        pictures.append([face.metadata(face_analysis, (width, height)) for face in chosen])
    return pictures


NODES = [FaceGenLoadInstantID, FaceGenApplyInstantID, FaceGenFaceKeypoints]
