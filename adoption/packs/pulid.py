"""The nodes of PuLID_ComfyUI and of the three PuLID-Flux packs: their inputs as read from the packs' schemas.

The PuLID-Flux packs call their nodes alike. Where their inputs differ, the node has those of all three: what a pack lacks stays
at its default.
"""

from dataclasses import replace

from ..old_nodes import Input, OldNode, Output, choice, number, percent_range, socket

PACK = "cubiq/PuLID_ComfyUI"
FLUX_PACKS = "balazik/ComfyUI-PuLID-Flux, lldacing/ComfyUI_PuLID_Flux_ll or sipie800/ComfyUI-PuLID-Flux-Enhanced"
LL_PACK = "lldacing/ComfyUI_PuLID_Flux_ll"
FACE_PACK = "antelopev2"
# Method -> projection, number of empty tokens.
METHODS = {"fidelity": ("ortho_v2", 8), "style": ("ortho", 16), "neutral": ("none", 0)}
PROJECTIONS = {"ortho_v2": "orthogonal v2", "ortho": "orthogonal v1", "none": "plain"}  # the pack's name -> ours
# Fusion of several photos -> Embed Face's combine; others come nearest to the first.
FUSIONS = {"mean": "average", "concat": "concat"}
EXACTLY = ("mean", "concat")
ORDERS = ("left-right", "right-left", "top-bottom", "bottom-top", "small-large", "large-small")
# (order, index) -> Embed Face's select; what isn't here is the largest face.
SELECTS = {("large-small", 0): "largest", ("right-left", 0): "rightmost", ("top-bottom", 0): "topmost"}
WEIGHT = number("weight", 1.0, -1.0, 5.0)
ATTN_MASK = socket("attn_mask", "MASK", True)


def _parts(pulid: str, kind: str) -> tuple[Input, ...]:
    rest = socket("eva_clip", "EVA_CLIP"), socket("face_analysis", "FACEANALYSIS"), socket("image", "IMAGE")
    return socket("model", "MODEL"), socket(pulid, kind), *rest


MODEL_OUTPUT = (Output("MODEL", "MODEL"),)
TIES = ("pulid", "eva_clip", "face_analysis")
FLUX_TIES = ("pulid_flux", "eva_clip", "face_analysis", "options")

MODEL_LOADER = OldNode(
    "PulidModelLoader",
    "Load PuLID Model",
    PACK,
    "Opens a PuLID file from models/pulid.",
    (Input("pulid_file", "COMBO", folder="pulid"),),
    (Output("PULID", "PULID"),),
)
ANALYSIS_LOADER = OldNode(
    "PulidInsightFaceLoader",
    "Load InsightFace (PuLID)",
    PACK,
    "Loads the face analysis that PuLID was trained with: detector and recogniser of antelopev2.",
    (choice("provider", "CPU", "CUDA", "ROCM", "CoreML"),),
    (Output("FACEANALYSIS", "FACEANALYSIS"),),
)
EVA_LOADER = OldNode(
    "PulidEvaClipLoader",
    "Load Eva Clip (PuLID)",
    PACK,
    "Loads the two networks through which PuLID sees a face, from models/clip_vision and models/facexlib.",
    (),
    (Output("EVA_CLIP", "EVA_CLIP"),),
)
APPLY = OldNode(
    "ApplyPulid",
    "Apply PuLID",
    PACK,
    "Makes an SDXL model generate the person in the photos.",
    (*_parts("pulid", "PULID"), choice("method", *METHODS), WEIGHT, *percent_range(), ATTN_MASK),
    MODEL_OUTPUT,
    TIES,
)
APPLY_ADVANCED = OldNode(
    "ApplyPulidAdvanced",
    "Apply PuLID Advanced",
    PACK,
    "Makes an SDXL model generate the person in the photos, with a projection and empty tokens of your choice.",
    (
        *_parts("pulid", "PULID"),
        WEIGHT,
        choice("projection", *PROJECTIONS),
        Input("fidelity", "INT", 8, 0, 32, 1),
        number("noise", 0.0, -1.0, 1.0, 0.1),
        *percent_range(),
        ATTN_MASK,
    ),
    MODEL_OUTPUT,
    TIES,
)
FLUX_MODEL_LOADER = OldNode(
    "PulidFluxModelLoader",
    "Load PuLID Flux Model",
    FLUX_PACKS,
    "Opens a PuLID file for FLUX.1 from models/pulid.",
    MODEL_LOADER.inputs,
    (Output("PULIDFLUX", "PULIDFLUX"),),
)
FLUX_ANALYSIS_LOADER = OldNode(
    "PulidFluxInsightFaceLoader",
    "Load InsightFace (PuLID Flux)",
    FLUX_PACKS,
    ANALYSIS_LOADER.says,
    (choice("provider", "CPU", "CUDA", "ROCM"),),
    ANALYSIS_LOADER.outputs,
)
FLUX_EVA_LOADER = OldNode(
    "PulidFluxEvaClipLoader", "Load Eva Clip (PuLID Flux)", FLUX_PACKS, EVA_LOADER.says, (), EVA_LOADER.outputs
)
FUSION = (
    choice("fusion", "mean", "concat", "max", "norm_id", "max_token", "auto_weight", "train_weight"),
    number("fusion_weight_max", 1.0, 0.0, 20.0, 0.1),
    number("fusion_weight_min", 0.0, 0.0, 20.0, 0.1),
    Input("train_step", "INT", 1000, 0, 20000, 1),
    Input("use_gray", "BOOLEAN", True),
)
FLUX_APPLY = OldNode(
    "ApplyPulidFlux",
    "Apply PuLID Flux",
    FLUX_PACKS,
    "Makes a FLUX.1 model generate the person in the photos.",
    (
        *_parts("pulid_flux", "PULIDFLUX"),
        WEIGHT,
        *percent_range(),
        *(replace(one, optional=True) for one in FUSION),  # two of the packs lack them
        ATTN_MASK,
        socket("options", "OPTIONS", True),
        socket("prior_image", "IMAGE", True),
    ),
    MODEL_OUTPUT,
    FLUX_TIES,
)
FLUX_OPTIONS = OldNode(
    "PulidFluxOptions",
    "Pulid Flux Options",
    LL_PACK,
    "Says which face of each photo is used.",
    (
        choice("input_faces_order", *ORDERS, default="large-small"),
        Input("input_faces_index", "INT", 0, 0, 1000, 1),
        Input("input_faces_align_mode", "INT", 1, 0, 1, 1),
    ),
    (Output("OPTIONS", "OPTIONS"),),
)
FLUX_FIX = OldNode(
    "FixPulidFluxPatch",
    "Fix PuLID Flux Patch",
    LL_PACK,
    "Gives the model on as it is: nothing has to be mended here.",
    (socket("model", "MODEL"),),
    MODEL_OUTPUT,
)
DETECTOR = OldNode(
    "PulidFluxFaceDetector",
    "Pulid Flux Face Detector",
    LL_PACK,
    "Shows which face of each photo is used: cut out, turned upright, and marked in its photo.",
    (socket("face_analysis", "FACEANALYSIS"), socket("image", "IMAGE"), socket("options", "OPTIONS")),
    tuple(Output(name, "IMAGE", many=True) for name in ("embed_face", "align_face", "face_bbox_image")),
    ("face_analysis", "options"),
)
NOT_ADOPTED = ("PulidFluxFaceNetLoader",)  # of the same pack: another recogniser, for which no PuLID file was trained
NODES = (
    *(MODEL_LOADER, ANALYSIS_LOADER, EVA_LOADER, APPLY, APPLY_ADVANCED),
    *(FLUX_MODEL_LOADER, FLUX_ANALYSIS_LOADER, FLUX_EVA_LOADER, FLUX_APPLY, FLUX_OPTIONS, FLUX_FIX),
    DETECTOR,
)


def select(order: str, index: int) -> tuple[str, int, bool]:
    """Embed Face's select and face_index for the packs' order and index, and whether that is what they mean."""
    if order == "left-right":
        return "by index", index, True
    found = SELECTS.get((order, index))
    return found or "largest", 0, found is not None
