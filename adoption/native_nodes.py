"""The nodes that take an old node's place with `--native`: their inputs and outputs, in the order of their schemas."""

from dataclasses import dataclass
from typing import Any

LINE, SLOT, EDGE = 24, 20, 26  # pixels: height of a widget, of a socket, of the rest


@dataclass(frozen=True)
class NativeNode:
    """inputs and outputs: name -> type of the socket; values: name -> what a new node is set to, of those with a widget."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    values: dict[str, Any]
    width: int = 315

    @property
    def height(self) -> int:
        """Of the node on the canvas, in pixels."""
        sockets = max(len(self.inputs) - len(self.values), len(self.outputs))
        return EDGE + SLOT * sockets + LINE * len(self.values)


NATIVE = {
    "CLIPVisionLoader": NativeNode(
        {"clip_name": "COMBO"},
        {"CLIP_VISION": "CLIP_VISION"},
        {"clip_name": "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"},
    ),
    "FaceGenLoadFaceAnalyzer": NativeNode(
        {"model_pack": "COMBO", "provider": "COMBO", "min_confidence": "FLOAT"},
        {"face_analysis": "FACE_ANALYSIS"},
        {"model_pack": "buffalo_l", "provider": "auto", "min_confidence": 0.5},
    ),
    "FaceGenLoadFaceID": NativeNode(
        {"faceid_file": "COMBO"}, {"faceid": "FACEID"}, {"faceid_file": "ip-adapter-faceid-plusv2_sd15.bin"}
    ),
    "FaceGenEmbedFace": NativeNode(
        {
            "face_analysis": "FACE_ANALYSIS",
            "image": "IMAGE",
            "clip_vision": "CLIP_VISION",
            "select": "COMBO",
            "face_index": "INT",
            "combine": "COMBO",
            "on_no_face": "COMBO",
            "face_structure": "FACE_STRUCTURE",
        },
        {
            "face_embeds": "FACE_EMBEDS",
            "crops": "IMAGE",
            "annotated": "IMAGE",
            "faces": "INT",
            "report": "STRING",
            "face_mask": "MASK",
            "structure_crops": "IMAGE",
        },
        {"select": "largest", "face_index": 0, "combine": "average", "on_no_face": "error"},
    ),
    "FaceGenApplyFaceID": NativeNode(
        {
            "model": "MODEL",
            "faceid": "FACEID",
            "face_embeds": "FACE_EMBEDS",
            "weight": "FLOAT",
            "s_scale": "FLOAT",
            "lora_strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "layer_weights": "STRING",
            "mask": "MASK",
        },
        {"model": "MODEL"},
        {
            "weight": 1.0,
            "s_scale": 1.0,
            "lora_strength": 1.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "layer_weights": "",
        },
    ),
}
