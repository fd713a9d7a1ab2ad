"""Where a face is to be, as the hint image of InstantID's ControlNet."""

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..errors import Cures, FaceGenError, NoFaceError, NoKeypointsError, advise
from ..models.face.analysis import SELECT, FaceAnalysis, select_faces, to_bgr
from ..models.face.embeds import FaceEmbeds
from ..models.face.keypoints import CENTRE, SCALE, Place, are_placed, as_in_photo, draw_keypoints, faces_to_draw, fitted
from ..models.pictures import require_rgb, watched
from . import types
from .host import reports
from .host.cures import FACE_PACK, PICTURES
from .host.schema import newer

PHOTO, FITTED = "as in the photo", "fitted"
SIDE = {"default": 1016, "min": 64, "max": 16384, "step": 8}
SHARE = {"min": 0.0, "max": 1.0, "step": 0.01}
NO_SIZE = (
    "these face embeds come from an older file and don't say how large the photo was, so the face is fitted into the frame "
    f"at the usual place and size ({CENTRE[0]:g}, {CENTRE[1]:g}, {SCALE:g})."
)
CURES: Cures = {
    NoFaceError: "Use another photo, or lower min_confidence on the Load Face Analyzer node.",
    NoKeypointsError: "Embed the photo again with Embed Face, or connect it to image.",
    **FACE_PACK,
    **PICTURES,
}


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
    @advise("Face Keypoints", CURES)
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


NODES = [FaceGenFaceKeypoints]
