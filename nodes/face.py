"""Face analysis nodes: photo to embeddings."""

import logging

import folder_paths
import torch
from comfy_api.latest import io

from ..models import onnx_providers
from ..models.annotate import annotate
from ..models.errors import FaceGenError
from ..models.face_analysis import SELECT, FaceAnalyzer, aligned_crop, find_packs, select_faces, to_bgr
from ..models.face_embeds import COMBINE, FaceEmbeds
from ..models.pictures import require_rgb
from . import types

log = logging.getLogger(__name__)
TRAINED_WITH = "buffalo_l"  # the published FaceID adapters know this pack's embeddings


def _packs():
    return find_packs(folder_paths.get_folder_paths("insightface"))


class FaceGenLoadFaceAnalyzer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        packs = list(_packs()) or [TRAINED_WITH]
        return io.Schema(
            node_id="FaceGenLoadFaceAnalyzer",
            display_name="Load Face Analyzer (FaceGen)",
            category="FaceGen/face",
            description="Loads an InsightFace model pack (detector and recogniser) from models/insightface/models.",
            inputs=[
                io.Combo.Input(
                    "model_pack",
                    options=packs,
                    default=TRAINED_WITH if TRAINED_WITH in packs else packs[0],
                    tooltip="Folder in models/insightface/models with the pack's ONNX files. FaceID was trained on buffalo_l.",
                ),
                io.Combo.Input(
                    "provider",
                    options=onnx_providers.available(),
                    default="auto",
                    tooltip="Where ONNX Runtime computes. auto takes the fastest; only installed ones are listed.",
                ),
                io.Float.Input(
                    "min_confidence",
                    default=0.5,
                    min=0.05,
                    max=0.99,
                    step=0.01,
                    tooltip="Detections below this confidence are ignored. Lower it for faces that aren't found.",
                ),
            ],
            outputs=[types.FaceAnalysis.Output(display_name="face_analysis")],
        )

    @classmethod
    def execute(cls, model_pack, provider, min_confidence):
        packs = _packs()
        if model_pack not in packs:
            raise FaceGenError(
                f"InsightFace model pack {model_pack!r} not found. Unpack its ONNX files (such as det_10g.onnx and "
                f"w600k_r50.onnx) into {folder_paths.get_folder_paths('insightface')[0]}/models/{model_pack}."
            )
        return io.NodeOutput(FaceAnalyzer(packs[model_pack], provider, min_confidence))


class FaceGenEmbedFace(io.ComfyNode):
    @classmethod
    def define_schema(cls):
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
                    tooltip="Several faces: average and concat make one person; one per image: the n-th latent gets the n-th.",
                ),
                io.Combo.Input(
                    "on_no_face",
                    options=["error", "skip"],
                    default="error",
                    tooltip="A photo without a face stops the run, or is left out with a line in the log.",
                ),
            ],
            outputs=[
                types.FaceEmbeds.Output(display_name="face_embeds"),
                io.Image.Output(display_name="crops", tooltip="The aligned 224x224 faces that CLIP vision sees."),
                io.Image.Output(
                    display_name="annotated", tooltip="The photos with every face marked; the chosen ones in green."
                ),
                io.Int.Output(display_name="faces", tooltip="How many faces were embedded."),
            ],
        )

    @classmethod
    def execute(cls, face_analysis, image, select, face_index, combine, on_no_face, clip_vision=None):
        require_rgb(image, "Embed Face")
        identities, crops, annotated, metadata = [], [], [], []
        for number, picture in enumerate(image):
            height, width = picture.shape[:2]
            bgr = to_bgr(picture)
            found = face_analysis.detect(bgr)
            if not found and on_no_face == "error":
                raise FaceGenError(face_analysis.no_face_message(height, width))
            chosen = select_faces(found, select, height, width, face_index) if found else []
            annotated.append(annotate(picture, found, chosen))
            if not chosen:
                log.warning("FaceGen: picture %d skipped. %s", number, face_analysis.no_face_message(height, width))
                continue
            identities.append(face_analysis.embed(bgr, chosen))
            crops += [aligned_crop(bgr, face) for face in chosen]
            metadata += [face.metadata(face_analysis.pack.name) for face in chosen]
        if not identities:
            raise FaceGenError(f"No face in any of the {len(image)} pictures: all were skipped, so there is nobody to embed.")
        crops = torch.stack(crops)
        hidden, zero = encode_clip_vision(clip_vision, crops) if clip_vision is not None else (None, None)
        embeds = FaceEmbeds(torch.cat(identities), hidden, zero, tuple(metadata)).combined(combine)
        return io.NodeOutput(embeds, crops, torch.stack(annotated), len(metadata))


def encode_clip_vision(clip_vision, crops):
    """Penultimate states, float32, of the crops [n, 257, width] and of an all-zero normalised picture [1, 257, width].

    The host's encode_image() normalises what it is given and rounds to 8 bits, so the zeros go to its model directly,
    which encode_image() has just loaded.
    """
    hidden = clip_vision.encode_image(crops)["penultimate_hidden_states"].float().cpu()
    size = clip_vision.image_size
    zero = torch.zeros(1, 3, size, size, device=clip_vision.load_device)
    states = clip_vision.model(pixel_values=zero, intermediate_output=-2)[1]
    return hidden, states.float().cpu()
