"""The nodes of ComfyUI_InstantID: their inputs as read from the pack's schema."""

from ..old_nodes import Input, OldNode, Output, choice, number, percent_range, socket

PACK = "cubiq/ComfyUI_InstantID"
FACE_PACK = "antelopev2"
NOISE = 0.35  # of ApplyInstantID, which doesn't ask for it
AVERAGE, NORM_AVERAGE, CONCAT = "average", "norm average", "concat"
PARTS = (
    socket("instantid", "INSTANTID"),
    socket("insightface", "FACEANALYSIS"),
    socket("control_net", "CONTROL_NET"),
    socket("image", "IMAGE"),
    socket("model", "MODEL"),
    socket("positive", "CONDITIONING"),
    socket("negative", "CONDITIONING"),
)
OPTIONAL = (socket("image_kps", "IMAGE", True), socket("mask", "MASK", True))
OUTPUTS = (Output("MODEL", "MODEL"), Output("positive", "CONDITIONING"), Output("negative", "CONDITIONING"))
TIES = ("instantid", "insightface", "faceanalysis")

MODEL_LOADER = OldNode(
    "InstantIDModelLoader",
    "Load InstantID Model",
    PACK,
    "Opens InstantID's adapter from models/instantid.",
    (Input("instantid_file", "COMBO", folder="instantid"),),
    (Output("INSTANTID", "INSTANTID"),),
)
ANALYSIS_LOADER = OldNode(
    "InstantIDFaceAnalysis",
    "InstantID Face Analysis",
    PACK,
    "Loads the face analysis that InstantID was trained with: detector and recogniser of antelopev2.",
    (choice("provider", "CPU", "CUDA", "ROCM", "CoreML"),),
    (Output("FACEANALYSIS", "FACEANALYSIS"),),
)
KEYPOINTS = OldNode(
    "FaceKeypointsPreprocessor",
    "Face Keypoints Preprocessor",
    PACK,
    "Draws the five points of the face in each photo, as InstantID's ControlNet reads them.",
    (socket("faceanalysis", "FACEANALYSIS"), socket("image", "IMAGE")),
    (Output("IMAGE", "IMAGE"),),
    ("faceanalysis",),
)
APPLY = OldNode(
    "ApplyInstantID",
    "Apply InstantID",
    PACK,
    "Makes an SDXL model generate the person in the photos, with the face where the key points are.",
    (*PARTS, number("weight", 0.8, 0.0, 5.0, 0.01), *percent_range(), *OPTIONAL),
    OUTPUTS,
    TIES,
)
APPLY_ADVANCED = OldNode(
    "ApplyInstantIDAdvanced",
    "Apply InstantID Advanced",
    PACK,
    "Makes an SDXL model generate the person in the photos, with strengths of their own for attention and ControlNet.",
    (
        *PARTS,
        number("ip_weight", 0.8, 0.0, 3.0, 0.01),
        number("cn_strength", 0.8, 0.0, 10.0, 0.01),
        *percent_range(),
        number("noise", 0.0, 0.0, 1.0, 0.1),
        choice("combine_embeds", AVERAGE, NORM_AVERAGE, CONCAT, default=AVERAGE),
        *OPTIONAL,
    ),
    OUTPUTS,
    TIES,
)
ATTENTION = OldNode(
    "InstantIDAttentionPatch",
    "InstantID Patch Attention",
    PACK,
    "Makes an SDXL model generate the person in the photos, by attention alone. InstantID Apply ControlNet does the rest.",
    (
        *(one for one in PARTS if one.name in ("instantid", "insightface", "image", "model")),
        number("weight", 1.0, -1.0, 3.0, 0.01),
        *percent_range(),
        number("noise", 0.0, 0.0, 1.0, 0.1),
        OPTIONAL[1],
    ),
    (Output("MODEL", "MODEL"), Output("FACE_EMBEDS", "FACE_EMBEDS")),
    ("instantid", "insightface"),
)
CONTROL = OldNode(
    "ApplyInstantIDControlNet",
    "InstantID Apply ControlNet",
    PACK,
    "Puts the face where the key points are, by InstantID's ControlNet, for the person of InstantID Patch Attention.",
    (
        socket("face_embeds", "FACE_EMBEDS"),
        *(one for one in PARTS if one.name == "control_net"),
        socket("image_kps", "IMAGE"),
        *(one for one in PARTS if one.kind == "CONDITIONING"),
        number("strength", 1.0, 0.0, 10.0, 0.01),
        *percent_range(),
        OPTIONAL[1],
    ),
    OUTPUTS[1:],
    ("face_embeds",),
)
NODES = (MODEL_LOADER, ANALYSIS_LOADER, KEYPOINTS, APPLY, APPLY_ADVANCED, ATTENTION, CONTROL)
