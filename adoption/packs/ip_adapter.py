"""The FaceID nodes of ComfyUI_IPAdapter_plus: their inputs as read from the pack's schema, and the names that it uses."""

from typing import Any

from ..old_nodes import Input, OldNode, Output, choice, number, percent_range, socket

PACK = "cubiq/ComfyUI_IPAdapter_plus"
IPADAPTER_INPUT, INSIGHTFACE_INPUT = "ipadapter", "insightface"
TIES = IPADAPTER_INPUT, INSIGHTFACE_INPUT

# What a weight type does to each block is in weight_types.py.
WEIGHT_TYPES = (
    "linear",
    "ease in",
    "ease out",
    "ease in-out",
    "reverse in-out",
    "weak input",
    "weak output",
    "weak middle",
    "strong middle",
    "style transfer",
    "composition",
    "strong style transfer",
    "style and composition",
    "style transfer precise",
    "composition precise",
)
COMBINE = ("concat", "add", "subtract", "average", "norm average")
V_ONLY, K_V, K_V_PENALTY, K_MEAN_V = "V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty"
SCALINGS = (V_ONLY, K_V, K_V_PENALTY, K_MEAN_V)
# What nodes that ask for less than IPAdapterFaceID mean by their weight_type: IPAdapter's as IPAdapterFaceID's own, and that of
# the first releases' node as its embeds_scaling.
SIMPLE_TYPES = {"standard": "linear", "prompt is more important": "ease out", "style transfer": "style transfer"}
FIRST_SCALINGS = {"original": V_ONLY, "linear": K_V, "channel penalty": K_MEAN_V}
# Weight types that earlier versions of the pack called otherwise -> as they are called now.
EARLIER_NAMES = {
    "style transfer (SDXL)": "style transfer",
    "style transfer (SDXL only)": "style transfer",
    "composition (SDXL)": "composition",
    "style transfer and composition": "style and composition",
}
# Preset -> kind of adapter, as FaceIDVariant.name begins, without the base model.
PRESETS = {
    "FACEID": "faceid",
    "FACEID PLUS - SD1.5 only": "faceid-plus",
    "FACEID PLUS V2": "faceid-plusv2",
    "FACEID PORTRAIT (style transfer)": "faceid-portrait",
    "FACEID PORTRAIT UNNORM - SDXL only (strong)": "faceid-portrait_unnorm",
}
UNNORM = "_unnorm"
BASES = ("sd15", "sdxl")
FACE_PACK = "buffalo_l"  # which the unified loader takes
READ_CLIP_VISION = ("faceid-plus", "faceid-plusv2")

IPADAPTER, MODEL = socket(IPADAPTER_INPUT, "IPADAPTER"), socket("model", "MODEL")
WEIGHT_TYPE, COMBINE_EMBEDS = choice("weight_type", *WEIGHT_TYPES), choice("combine_embeds", *COMBINE)
SCALING = choice("embeds_scaling", *SCALINGS)
OPTIONAL = (
    socket("image_negative", "IMAGE", True),
    socket("attn_mask", "MASK", True),
    socket("clip_vision", "CLIP_VISION", True),
)
FACEID_INPUTS = (
    MODEL,
    IPADAPTER,
    socket("image", "IMAGE"),
    number("weight", 1.0, -1, 3),
    number("weight_faceidv2", 1.0, -1, 5.0),
    WEIGHT_TYPE,
    COMBINE_EMBEDS,
    *percent_range(),
    SCALING,
    *OPTIONAL,
    socket(INSIGHTFACE_INPUT, "INSIGHTFACE", True),
)
FACEID_OUTPUTS = (Output("MODEL", "MODEL"), Output("face_image", "IMAGE"))

UNIFIED_LOADER = OldNode(
    "IPAdapterUnifiedLoaderFaceID",
    "IPAdapter Unified Loader FaceID",
    PACK,
    "Loads what FaceID needs by a preset's name: the adapter with its LoRA, CLIP vision and the face analysis.",
    (
        MODEL,
        choice("preset", *PRESETS),
        number("lora_strength", 0.6, 0, 1, 0.01),
        choice("provider", "CPU", "CUDA", "ROCM", "DirectML", "OpenVINO", "CoreML"),
        socket(IPADAPTER_INPUT, "IPADAPTER", True),
    ),
    (Output("MODEL", "MODEL"), Output("ipadapter", "IPADAPTER")),
)
MODEL_LOADER = OldNode(
    "IPAdapterModelLoader",
    "IPAdapter Model Loader",
    PACK,
    "Opens a FaceID adapter from models/ipadapter. Other IP-Adapter files need the pack that the graph was made with.",
    (Input("ipadapter_file", "COMBO", folder="ipadapter"),),
    (Output("IPADAPTER", "IPADAPTER"),),
    shared=True,
)
INSIGHTFACE_LOADER = OldNode(
    "IPAdapterInsightFaceLoader",
    "IPAdapter InsightFace Loader",
    PACK,
    "Loads the face analysis: detector and recogniser of an InsightFace model pack.",
    (choice("provider", "CPU", "CUDA", "ROCM"), choice("model_name", FACE_PACK, "antelopev2")),
    (Output("INSIGHTFACE", "INSIGHTFACE"),),
)
FACEID = OldNode(
    "IPAdapterFaceID",
    "IPAdapter FaceID",
    PACK,
    "Makes the model generate the person in the photos, by FaceID.",
    FACEID_INPUTS,
    FACEID_OUTPUTS,
    TIES,
)
FACEID_BATCH = OldNode(
    "IPAAdapterFaceIDBatch",  # spelt so in the pack
    "IPAdapter FaceID Batch",
    PACK,
    "Makes the model generate the person of the first photo in the first picture, of the second in the second, and so on.",
    FACEID_INPUTS,
    FACEID_OUTPUTS,
    TIES,
)
ADVANCED = OldNode(
    "IPAdapterAdvanced",
    "IPAdapter Advanced",
    PACK,
    "Makes the model generate the person in the photos, where the IP-Adapter is FaceID. Other IP-Adapter files need the pack "
    "that the graph was made with.",
    (
        MODEL,
        IPADAPTER,
        socket("image", "IMAGE"),
        number("weight", 1.0, -1, 5),
        WEIGHT_TYPE,
        COMBINE_EMBEDS,
        *percent_range(),
        SCALING,
        *OPTIONAL,
    ),
    (Output("MODEL", "MODEL"),),
    (IPADAPTER_INPUT,),
    shared=True,
)
SIMPLE = OldNode(
    "IPAdapter",
    "IPAdapter",
    PACK,
    "Makes the model generate the person in the photos, where the IP-Adapter is FaceID. Other IP-Adapter files need the pack "
    "that the graph was made with.",
    (
        MODEL,
        IPADAPTER,
        socket("image", "IMAGE"),
        number("weight", 1.0, -1, 3),
        *percent_range(),
        choice("weight_type", *SIMPLE_TYPES),
        socket("attn_mask", "MASK", True),
    ),
    (Output("MODEL", "MODEL"),),
    (IPADAPTER_INPUT,),
    shared=True,
)
# The two that follow are of the pack's first releases, before March 2024; the pack itself no longer has them.
FIRST_INSIGHTFACE_LOADER = OldNode(
    "InsightFaceLoader",
    "Load InsightFace",
    PACK,
    INSIGHTFACE_LOADER.says,
    INSIGHTFACE_LOADER.inputs[:1],
    INSIGHTFACE_LOADER.outputs,
)
FIRST_FACEID = OldNode(
    "IPAdapterApplyFaceID",
    "Apply IPAdapter FaceID",
    PACK,
    "Makes the model generate the person in the photos, by FaceID.",
    (
        IPADAPTER,
        socket("clip_vision", "CLIP_VISION"),
        socket(INSIGHTFACE_INPUT, "INSIGHTFACE"),
        socket("image", "IMAGE"),
        MODEL,
        number("weight", 1.0, -1, 3),
        number("noise", 0.0, 0.0, 1.0, 0.01),
        choice("weight_type", *FIRST_SCALINGS),
        *percent_range(),
        Input("faceid_v2", "BOOLEAN", False),
        number("weight_v2", 1.0, -1, 3),
        Input("unfold_batch", "BOOLEAN", False),
        socket("attn_mask", "MASK", True),
    ),
    (Output("MODEL", "MODEL"),),
    TIES,
)
INSIGHTFACE_LOADERS, APPLIERS = (
    (INSIGHTFACE_LOADER, FIRST_INSIGHTFACE_LOADER),
    (FACEID, FACEID_BATCH, ADVANCED, SIMPLE, FIRST_FACEID),
)
NOT_ADOPTED = ("IPAdapterFaceIDKolors", "IPAdapterMS")  # which carry FaceID, too
NODES = (UNIFIED_LOADER, MODEL_LOADER, *INSIGHTFACE_LOADERS, *APPLIERS)


def as_faceid(old: OldNode, values: dict[str, Any]) -> dict[str, Any]:
    """The values of one of APPLIERS as IPAdapterFaceID would have them, others of its own left beside them."""
    values = {**values, "weight_type": EARLIER_NAMES.get(values["weight_type"], values["weight_type"])}
    found = {"combine_embeds": "concat", "embeds_scaling": V_ONLY, **values}
    if old is FIRST_FACEID:
        found |= {"weight_type": "linear", "embeds_scaling": FIRST_SCALINGS[values["weight_type"]]}
        return found | {"weight_faceidv2": values["weight_v2"]}
    if old is SIMPLE:
        found["weight_type"] = SIMPLE_TYPES[values["weight_type"]]
    # Where a node doesn't ask for PlusV2's second weight, the old pack takes twice the first.
    return {"weight_faceidv2": 2 * values["weight"], **found}


def published_file(kind: str, base: str) -> str | None:
    """Name of the published FaceID file of a kind of adapter, for "sd15" or "sdxl"; None where none was published."""
    if kind == PRESETS["FACEID PORTRAIT (style transfer)"]:
        return "ip-adapter-faceid-portrait-v11_sd15.bin" if base == "sd15" else "ip-adapter-faceid-portrait_sdxl.bin"
    if kind.endswith(UNNORM):
        return "ip-adapter-faceid-portrait_sdxl_unnorm.bin" if base == "sdxl" else None
    if kind == "faceid-plus" and base != "sd15":
        return None
    return f"ip-adapter-{kind}_{base}.bin"
