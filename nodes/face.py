"""Face analysis nodes: photo to embeddings, and how good a photo is."""

import json
import math
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker
from torch import Tensor

from ..errors import BrokenModelPackError, Cures, NoFaceError, NoFeaturesError, advise
from ..models import onnx_providers
from ..models.face.analysis import SELECT, FaceAnalysis, select_faces, to_bgr
from ..models.face.annotate import annotate, as_batch
from ..models.face.embeds import COMBINE
from ..models.face.packs.catalogue import CATALOGUE
from ..models.face.packs.find import find_packs, missing_pack_message
from ..models.face.photo_to_embeds import embed_photos
from ..models.face.quality import portrait_quality
from ..models.face.structure.look import FaceStructure
from ..models.pictures import require_rgb, watched
from ..models.published import FACE_PACK as FACE_PACK_NAME
from .host import combos, reports, types
from .host.clip_states import encode_clip_vision
from .host.cures import FACE_PACK, INSIGHTFACE, PICTURES
from .host.schema import ADVANCED, newer

TRAINED_WITH = CATALOGUE[FACE_PACK_NAME]
WANTED = (
    f"{TRAINED_WITH.name} -> models/insightface/models, by: python PACK_FOLDER models download {TRAINED_WITH.name} "
    f"({TRAINED_WITH.size_and_licence()})"
)
LOAD_CURES: Cures = {BrokenModelPackError: "Download the pack again.", **INSIGHTFACE}
NO_FACE_CURE = "Use another photo, or lower min_confidence on the Load Face Analyzer node."
# What a node that is connected to the output shows.
NOT_LOOKED_AT = (
    "Embed Face: structure_crops is empty. Connect Load Face Structure to face_structure, or nothing to this output."
)
EMBED_CURES: Cures = {
    NoFaceError: NO_FACE_CURE,
    NoFeaturesError: "Look at the annotated output without face_structure; choose another face with select.",
    **FACE_PACK,
    **PICTURES,
}


def face_packs() -> dict[str, Path]:
    return find_packs(folder_paths.get_folder_paths("insightface"))


def missing_pack(name: str) -> str:
    wanted = TRAINED_WITH.name if name.startswith(combos.NO_FILE) else name
    message = missing_pack_message(wanted, folder_paths.get_folder_paths("insightface"))
    if wanted not in CATALOGUE:
        return f"{message} Put them there."
    return f"{message} Get it with `python <pack folder> models download {wanted}`, or unpack the source there."


class FaceGenLoadFaceAnalyzer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        packs = combos.options(face_packs(), WANTED)
        return io.Schema(
            node_id="FaceGenLoadFaceAnalyzer",
            display_name="Load Face Analyzer (FaceGen)",
            category="FaceGen/face",
            description="Loads an InsightFace model pack (detector and recogniser) from models/insightface/models.",
            inputs=[
                io.Combo.Input(
                    "model_pack",
                    options=packs,
                    default=TRAINED_WITH.name if TRAINED_WITH.name in packs else packs[0],
                    tooltip="Folder in models/insightface/models with the pack's ONNX files. FaceID was trained on buffalo_l, "
                    "InstantID and PuLID on antelopev2.",
                ),
                io.Combo.Input(
                    "provider",
                    options=onnx_providers.available(),
                    default="auto",
                    tooltip="What ONNX Runtime runs on. auto picks the fastest. Only installed providers are listed.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "min_confidence",
                    default=0.5,
                    min=0.05,
                    max=0.99,
                    step=0.01,
                    tooltip="Detections below this confidence are ignored. Lower it if a face isn't found.",
                ),
            ],
            outputs=[types.FaceAnalysis.Output(display_name="face_analysis")],
            **newer(search="insightface, buffalo_l, antelopev2, face detection, face recognition, load insightface"),
        )

    @classmethod
    def validate_inputs(cls, model_pack: str | None = None) -> bool | str:
        return combos.check(model_pack, face_packs(), missing_pack)

    @classmethod
    @advise("Load Face Analyzer", LOAD_CURES)
    def execute(cls, model_pack: str, provider: str, min_confidence: float) -> io.NodeOutput:
        packs = face_packs()
        combos.require(model_pack, packs, missing_pack)
        return io.NodeOutput(FaceAnalysis(packs[model_pack], provider, min_confidence))


class FaceGenEmbedFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenEmbedFace",
            display_name="Embed Face (FaceGen)",
            category="FaceGen/face",
            description="Finds the face in each photo and turns it into the embeddings that FaceID works with.",
            inputs=[
                types.FaceAnalysis.Input("face_analysis", tooltip="From Load Face Analyzer."),
                io.Image.Input("image", tooltip="One photo, or a batch of photos: clear, and visible down to the shoulders."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="CLIP-ViT-H vision model, for the Plus and PlusV2 adapters. Others don't need it.",
                ),
                io.Combo.Input("select", options=list(SELECT), default="largest", tooltip="Which face of each photo to use."),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=99,
                    tooltip="With select = by index: which face, counted from the left, 0 first.",
                ),
                io.Combo.Input(
                    "combine",
                    options=list(COMBINE),
                    default="average",
                    tooltip="How several faces are combined. average and concat make one person; with one per image, the n-th "
                    "latent gets the n-th face.",
                ),
                io.Combo.Input(
                    "on_no_face",
                    options=["error", "skip"],
                    default="error",
                    tooltip="error: a photo without a face stops the run. skip: it is left out, and the log and the report "
                    "say so.",
                ),
                types.FaceStructure.Input(
                    "face_structure", optional=True, tooltip="From Load Face Structure, for PuLID. Others don't need it."
                ),
            ],
            outputs=[
                types.FaceEmbeds.Output(display_name="face_embeds"),
                io.Image.Output(display_name="crops", tooltip="The aligned 224x224 faces that CLIP vision sees."),
                io.Image.Output(
                    display_name="annotated", tooltip="The photos with every face marked; the chosen ones in green."
                ),
                io.Int.Output(display_name="faces", tooltip="How many faces were embedded."),
                io.String.Output(
                    display_name="report",
                    tooltip="JSON: the faces of each photo, how they were found, how good they are, and which seem to be "
                    "someone else.",
                ),
                io.Mask.Output(
                    display_name="face_mask",
                    tooltip="White where the chosen faces are, with a soft edge; one mask per photo, for inpainting them.",
                ),
                io.Image.Output(
                    display_name="structure_crops",
                    tooltip="What PuLID's vision tower sees: the aligned 512x512 faces, their features in grey on white. Needs "
                    "face_structure.",
                ),
            ],
            **newer(search="face id, faceid, insightface, face embedding, face crop, face mask, detect face, reference face"),
        )

    @classmethod
    @advise("Embed Face", EMBED_CURES)
    def execute(
        cls,
        face_analysis: FaceAnalysis,
        image: Tensor,
        select: str,
        face_index: int,
        combine: str,
        on_no_face: str,
        clip_vision: Any = None,
        face_structure: FaceStructure | None = None,
    ) -> io.NodeOutput:
        encode = None if clip_vision is None else lambda crops: encode_clip_vision(clip_vision, crops)
        done = embed_photos(
            face_analysis,
            image,
            encode,
            None if face_structure is None else face_structure.look,
            select=select,
            face_index=face_index,
            combine=combine,
            skip=on_no_face == "skip",
            watch=reports.progress(),
        )
        if not all(any(face["chosen"] for face in picture["faces"]) for picture in done.report["pictures"]):
            done.warnings.append(f"Pictures without a face were skipped. {NO_FACE_CURE}")
        report = json.dumps(done.report, indent=1)
        shown = reports.report(_faces_in_words(done.report), done.annotated)
        looked_at = ExecutionBlocker(NOT_LOOKED_AT) if done.structure_crops is None else done.structure_crops
        faces = len(done.crops)
        return io.NodeOutput(done.face_embeds, done.crops, done.annotated, faces, report, done.mask, looked_at, ui=shown)


def _faces_in_words(report: dict[str, Any]) -> str:
    """One line per picture, "picture 0: 2 found, 1 used (quality 71 of 100)", and the warnings."""
    lines = []
    for picture in report["pictures"]:
        scores = [math.floor(100 * face["quality"]["score"]) for face in picture["faces"] if face["chosen"]]
        quality = f" (quality {', '.join(map(str, scores))} of 100)" if scores else ""
        lines.append(f"picture {picture['picture']}: {len(picture['faces'])} found, {len(scores)} used{quality}")
    return "\n".join(lines + report["warnings"])


class FaceGenFaceQuality(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenFaceQuality",
            display_name="Face Quality (FaceGen)",
            category="FaceGen/face",
            description="Says how good a photo is for FaceID: size, sharpness, pose, framing, shoulders and light of the face.",
            inputs=[
                types.FaceAnalysis.Input("face_analysis", tooltip="From Load Face Analyzer."),
                io.Image.Input("image", tooltip="One photo, or a batch of photos."),
                io.Combo.Input(
                    "select", options=list(SELECT), default="largest", tooltip="Which face of each photo is judged."
                ),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=99,
                    tooltip="With select = by index: which face, counted from the left, 0 first.",
                ),
            ],
            outputs=[
                io.Float.Output(display_name="score", tooltip="0 to 1, of the worst face. Below 0.5, use another photo."),
                io.Boolean.Output(display_name="good", tooltip="True when every check of every face passes."),
                io.Image.Output(
                    display_name="annotated", tooltip="The photos with all faces marked; the judged ones in green."
                ),
                io.String.Output(
                    display_name="report", tooltip="JSON: each figure with its threshold, and the problems in sentences."
                ),
            ],
            **newer(search="face check, photo quality, blurry face, face score, insightface"),
        )

    @classmethod
    @advise("Face Quality", {**FACE_PACK, **PICTURES})
    def execute(cls, face_analysis: FaceAnalysis, image: Tensor, select: str, face_index: int) -> io.NodeOutput:
        require_rgb(image)
        entries: list[dict[str, Any]] = []
        annotated = []
        for number, picture in watched(image, reports.progress()):
            height, width = picture.shape[:2]
            bgr = to_bgr(picture)
            found = face_analysis.detect(bgr)
            chosen = select_faces(found, select, height, width, face_index) if found else []
            annotated.append(annotate(bgr, found, chosen))
            for face in chosen:
                entries.append({"picture": number, **portrait_quality(bgr, face).as_dict()})
            if not chosen:
                message, details = face_analysis.no_face(height, width).args
                entries.append({"picture": number, "score": 0.0, "problems": [f"{message} {NO_FACE_CURE} {details}"]})
        score = min(entry["score"] for entry in entries)
        text = "\n".join(_in_words(entry) for entry in entries)
        good, marked = not any(entry["problems"] for entry in entries), as_batch(annotated)
        report = json.dumps(entries, indent=1)
        return io.NodeOutput(score, good, marked, report, ui=reports.report(text, marked))


def _in_words(entry: dict[str, Any]) -> str:
    says = [check["says"] for check in entry["checks"].values()] if "checks" in entry else entry["problems"]
    return f"picture {entry['picture']}: {math.floor(100 * entry['score'])} of 100\n  " + "\n  ".join(says)


NODES = [FaceGenLoadFaceAnalyzer, FaceGenEmbedFace, FaceGenFaceQuality]
