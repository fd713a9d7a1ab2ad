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
    "FaceGenLoadInstantID": NativeNode(
        {"instantid_file": "COMBO"}, {"instantid": "FACEGEN_INSTANTID"}, {"instantid_file": "ip-adapter.bin"}
    ),
    "FaceGenFaceKeypoints": NativeNode(
        {
            "width": "INT",
            "height": "INT",
            "placement": "COMBO",
            "center_x": "FLOAT",
            "center_y": "FLOAT",
            "scale": "FLOAT",
            "image": "IMAGE",
            "face_analysis": "FACE_ANALYSIS",
            "face_embeds": "FACE_EMBEDS",
            "select": "COMBO",
            "face_index": "INT",
        },
        {"keypoints": "IMAGE"},
        {
            "width": 1016,
            "height": 1016,
            "placement": "as in the photo",
            "center_x": 0.5,
            "center_y": 0.4,
            "scale": 0.4,
            "select": "largest",
            "face_index": 0,
        },
    ),
    "FaceGenApplyInstantID": NativeNode(
        {
            "model": "MODEL",
            "instantid": "FACEGEN_INSTANTID",
            "face_embeds": "FACE_EMBEDS",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "control_net": "CONTROL_NET",
            "keypoints": "IMAGE",
            "weight": "FLOAT",
            "control_strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "layer_weights": "STRING",
            "mask": "MASK",
        },
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING"},
        {"weight": 0.8, "control_strength": 0.8, "start_percent": 0.0, "end_percent": 1.0, "layer_weights": ""},
    ),
    "FaceGenLoadPuLID": NativeNode(
        {"pulid_file": "COMBO"}, {"pulid": "FACEGEN_PULID"}, {"pulid_file": "pulid_v1.1.safetensors"}
    ),
    "FaceGenLoadFaceStructure": NativeNode(
        {"vision_file": "COMBO", "parsing_file": "COMBO"},
        {"face_structure": "FACE_STRUCTURE"},
        {"vision_file": "EVA02_CLIP_L_336_psz14_s6B.pt", "parsing_file": "parsing_bisenet.pth"},
    ),
    "FaceGenApplyPuLID": NativeNode(
        {
            "model": "MODEL",
            "pulid": "FACEGEN_PULID",
            "face_embeds": "FACE_EMBEDS",
            "weight": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "projection": "COMBO",
            "num_zero": "INT",
            "layer_weights": "STRING",
            "mask": "MASK",
        },
        {"model": "MODEL"},
        {
            "weight": 1.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "projection": "orthogonal v2",
            "num_zero": 0,
            "layer_weights": "",
        },
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
