"""The model files that ComfyUI's loaders offer, as /object_info tells them."""

from collections.abc import Mapping
from typing import Any

from ..models.published import EVA_CLIP, PUBLISHED

CHECKER = "FaceGenLoadSafetyChecker"
# Entry of a flavour -> the loader's class and input.
FILES = {
    "checkpoint": ("CheckpointLoaderSimple", "ckpt_name"),
    "clip_vision": ("CLIPVisionLoader", "clip_name"),
    "face_pack": ("FaceGenLoadFaceAnalyzer", "model_pack"),
    "faceid": ("FaceGenLoadFaceID", "faceid_file"),
    "safety_checker": (CHECKER, "checker"),
}
LORA = ("LoraLoader", "lora_name")
LOADERS = dict((*FILES.values(), LORA))  # class -> the input with the file
NO_FILE = "missing: "  # so begins what a loader of ours offers in place of a file while there is none
TOWER = PUBLISHED[EVA_CLIP].file  # PuLID's lies among the CLIP vision models, and is none that a FaceID adapter reads
Choices = Mapping[str, list[str]]  # loader's class -> the files that it offers


def offered(info: Mapping[str, Any], kind: str) -> list[str]:
    """The files that a loader offers, from what is told of its class."""
    inputs = info.get("input", {})
    spec = (inputs.get("required", {}) | inputs.get("optional", {})).get(LOADERS[kind], [[]])
    files = spec[0] if isinstance(spec[0], list) else spec[1].get("options", [])
    return [file for file in files if not file.startswith(NO_FILE) and file != TOWER]
