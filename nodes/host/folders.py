"""Folders of ComfyUI that this pack reads and writes."""

import os
from pathlib import Path

import folder_paths

# Model folder -> extensions of the files it lists. InsightFace's packs are folders, so it lists their ONNX files.
MODEL_FOLDERS = {
    "ipadapter": {".bin", ".safetensors"},
    "instantid": {".bin", ".safetensors"},
    "insightface": {".onnx"},
    "safety_checker": {".safetensors"},
    "pulid": {".bin", ".safetensors"},
    "facexlib": {".pth", ".safetensors"},
}


def register_model_folders() -> None:
    """Add our model folders after whatever extra_model_paths.yaml or another pack has set for the same names."""
    for name, extensions in MODEL_FOLDERS.items():
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))
        paths, known = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (paths, set(known) | extensions)


def faces_folder() -> Path:
    """Saved faces. In the user's folder, because they are personal: ComfyUI serves its output folder to anyone who can
    reach it."""
    return _own("faces")


def styles_folder() -> Path:
    """The user's own styles."""
    return _own("styles")


def modelslab_file() -> Path:
    """Profiles of the hosted Face Generator, with their keys."""
    return _own("modelslab.json")


def local_api_file() -> Path:
    """Settings of the local API."""
    return _own("local_api.json")


def _own(name: str) -> Path:
    return Path(folder_paths.get_user_directory(), "facegen", name)
