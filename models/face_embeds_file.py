"""FaceEmbeds as a safetensors file: the tensors under their own names, the faces as JSON in the metadata."""

import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from .errors import FaceGenError
from .face_embeds import WIDTH, FaceEmbeds

FORMAT, VERSION = "facegen.face_embeds", "1"
TENSORS = ("identity", "clip_hidden", "clip_hidden_zero")
PER_IMAGE = "per_image"  # on each face in the file, when the n-th face belongs to the n-th latent


def save(embeds: FaceEmbeds, path: Path) -> None:
    tensors = {name: getattr(embeds, name) for name in TENSORS}
    tensors = {name: t.detach().float().cpu().contiguous().clone() for name, t in tensors.items() if t is not None}
    faces = [{**face, PER_IMAGE: True} for face in embeds.faces] if embeds.per_image else list(embeds.faces)
    data = to_bytes(tensors, {"format": FORMAT, "version": VERSION, "faces": json.dumps(faces)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)  # mode 600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FaceGenError(f"The face embeddings can't be written to {path}: {error}") from error


def load(path: Path) -> FaceEmbeds:
    if not path.is_file():
        raise FaceGenError(f"There are no face embeddings at {path}. Make them with Save Face Embeds.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            names = set(file.keys())
            tensors = {name: file.get_tensor(name) for name in TENSORS if name in names}
        faces = json.loads(metadata.get("faces", "[]"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, FaceGenError):
            raise
        raise FaceGenError(f"{path} can't be read as face embeddings: {error}. Embed the photo again.") from error
    _check_content(path, tensors, faces)
    per_image = bool(faces) and all(face.get(PER_IMAGE) for face in faces)
    plain = tuple({key: value for key, value in face.items() if key != PER_IMAGE} for face in faces)
    try:
        return FaceEmbeds(**{name: t.float() for name, t in tensors.items()}, faces=plain, per_image=per_image)
    except FaceGenError as error:
        raise FaceGenError(f"{path}: {error}") from error


def _check_format(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise FaceGenError(f"{path} holds no face embeddings of this pack (format {metadata.get('format')!r}, not {FORMAT!r}).")
    if metadata.get("version") != VERSION:
        raise FaceGenError(f"{path} has version {metadata.get('version')!r}; this release reads version {VERSION}. Update it.")


def _check_content(path: Path, tensors: dict[str, torch.Tensor], faces: object) -> None:
    identity = tensors.get("identity")
    if identity is None or identity.ndim != 2 or identity.shape[1] != WIDTH:
        shape = "none" if identity is None else list(identity.shape)
        raise FaceGenError(f"{path} lacks the identity [n, {WIDTH}]; it holds {shape}. Embed the photo again.")
    wrong = [name for name, t in tensors.items() if name != "identity" and t.ndim != 3]
    if wrong or any(not t.is_floating_point() for t in tensors.values()):
        kinds = ", ".join(f"{name} {t.dtype} {list(t.shape)}" for name, t in tensors.items())
        raise FaceGenError(f"{path} holds tensors of the wrong kind ({kinds}). Embed the photo again.")
    if not isinstance(faces, list) or not all(isinstance(face, dict) for face in faces):
        raise FaceGenError(f"{path}: `faces` in its metadata is not a list of faces. Embed the photo again.")
