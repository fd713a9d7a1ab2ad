"""What the pack adds to ComfyUI: node list, model folders and the local API's routes."""

import os

import folder_paths
from comfy_api.latest import ComfyExtension, io

from ..api.hosted import profiles
from .face import FaceGenEmbedFace, FaceGenFaceQuality, FaceGenLoadFaceAnalyzer
from .face_embeds import FaceGenCombineFaces, FaceGenLoadFaceEmbeds, FaceGenSaveFaceEmbeds
from .faceid import FaceGenApplyFaceID, FaceGenLoadFaceID
from .host.local_api.register import register_local_api
from .likeness import FaceGenLikeness
from .modelslab import FaceGenModelsLab, profile_file
from .safety import FaceGenCombineSafetyCheckers, FaceGenLoadSafetyChecker, FaceGenSafetyFilter
from .sampler import FaceGenSampler
from .style import FaceGenStyle
from .tiny import FaceGenLoadTinyModel

# Model folder -> extensions of the files it lists. InsightFace's packs are folders, so it lists their ONNX files.
MODEL_FOLDERS = {"ipadapter": {".bin", ".safetensors"}, "insightface": {".onnx"}, "safety_checker": {".safetensors"}}


def register_model_folders() -> None:
    """Add our model folders after whatever extra_model_paths.yaml or another pack has set for the same names."""
    for name, extensions in MODEL_FOLDERS.items():
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))
        paths, known = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (paths, set(known) | extensions)


class FaceGenExtension(ComfyExtension):
    def __init__(self):
        register_model_folders()
        register_local_api(lambda: profiles.names(profile_file()))

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            FaceGenLoadFaceAnalyzer,
            FaceGenEmbedFace,
            FaceGenFaceQuality,
            FaceGenCombineFaces,
            FaceGenSaveFaceEmbeds,
            FaceGenLoadFaceEmbeds,
            FaceGenLikeness,
            FaceGenLoadFaceID,
            FaceGenApplyFaceID,
            FaceGenStyle,
            FaceGenSampler,
            FaceGenLoadSafetyChecker,
            FaceGenCombineSafetyCheckers,
            FaceGenSafetyFilter,
            FaceGenModelsLab,
            FaceGenLoadTinyModel,
        ]
