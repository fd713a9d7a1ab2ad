"""Faces as numbers: what identifies a person, apart from any picture or model that made it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from ...atomic_write import atomic_write
from ...errors import FaceGenError, NewerFileError, UnreadableFileError, WrongRecogniserError

COMBINE = ("average", "concat", "one per image")
WIDTH = 512
MOST = sys.float_info.max  # JSON has longer numbers
NOBODY = {"nobody": True}  # in faces: a latent that has no face of its own
FORMAT, VERSION = "facegen.face_embeds", "1"
TENSORS = ("identity", "clip_hidden", "clip_hidden_zero", "structure_pooled", "structure_hidden")
DIMENSIONS = {"clip_hidden": 3, "clip_hidden_zero": 3, "structure_pooled": 2, "structure_hidden": 4}
# What a face's entry may say, and what it then is; other entries are kept as they are.
KNOWN: dict[str, Callable[[Any], bool]] = {
    "recogniser": lambda value: isinstance(value, str),
    "model_pack": lambda value: isinstance(value, str),
    "confidence": lambda value: _are_numbers([value], 1),
    "bbox": lambda value: _are_numbers(value, 4),
    "size": lambda value: _are_numbers(value, 2) and min(value) >= 1,
    "kps": lambda value: isinstance(value, list) and len(value) == 5 and all(_are_numbers(point, 2) for point in value),
}
STATES = ("clip_hidden", "structure_pooled", "structure_hidden")  # for each face, beside its identity
PER_IMAGE = "per_image"  # on each face in the file, when the n-th face belongs to the n-th latent


@dataclass(frozen=True, eq=False)  # tensors have no one truth value; a face is itself
class FaceEmbeds:
    """The embeddings of n faces.

    identity          float32 [n, 512]: ArcFace output as the recogniser gives it, not normalised.
    clip_hidden       float32 [n, 257, 1280] or None: penultimate CLIP vision states of the aligned RGB 224x224 crops.
    clip_hidden_zero  float32 [1, 257, 1280] or None: the same states of an all-zero normalised picture, which is what
                      the unconditional side of FaceID-Plus was trained on.
    faces             dicts: bbox (x0, y0, x1, y1 in pixels), kps (5 points), size (width, height of the photo; files of
                      older releases lack it), confidence (0-1), model_pack, recogniser. One for each face that went in;
                      with per_image, one for each row.
    per_image         True: the n-th face belongs to the n-th latent; False: all faces describe one person. A row whose
                      entry in `faces` is NOBODY (identity 0, clip_hidden the zero states, structure 0) stands for no face,
                      as on FaceID's unconditional side.
    structure_pooled  float32 [n, 768] or None: what the vision tower EVA02-CLIP says of the parsed faces, not normalised.
    structure_hidden  float32 [n, 5, 577, 1024] or None: five of its hidden states.

    Raises FaceGenError when the shapes don't agree, a value is not finite, or an identity is all zero.
    """

    identity: Tensor
    clip_hidden: Tensor | None = None
    clip_hidden_zero: Tensor | None = None
    faces: tuple[dict[str, Any], ...] = field(default=())
    per_image: bool = False
    structure_pooled: Tensor | None = None
    structure_hidden: Tensor | None = None

    def __post_init__(self) -> None:
        if self.identity.ndim != 2 or len(self.identity) == 0:
            raise FaceGenError(f"Face embeddings must have the shape [n, 512] with n from 1, got {list(self.identity.shape)}.")
        if (self.clip_hidden is None) != (self.clip_hidden_zero is None):
            raise FaceGenError("clip_hidden and clip_hidden_zero belong together; only one of them was given.")
        if self.clip_hidden is not None and len(self.clip_hidden) != len(self.identity):
            raise FaceGenError(f"{len(self.identity)} identities but {len(self.clip_hidden)} CLIP vision states.")
        self._check_structure()
        for name in TENSORS:
            tensor = getattr(self, name)
            if tensor is not None and not torch.isfinite(tensor).all():
                raise FaceGenError(f"Face embeddings hold NaN or infinite values ({name}).")
        empty = [i for i, used in enumerate(self.identity.any(dim=-1).tolist()) if not used and not self.is_nobody(i)]
        if empty:
            raise FaceGenError(
                f"The identity of face {', '.join(map(str, empty))} is all zero: the recogniser saw nothing in it, or faces "
                "that cancel each other were subtracted. Another photo, or other weights, are needed."
            )
        if all(self.is_nobody(i) for i in range(len(self))):
            raise FaceGenError("These face embeddings hold nobody: no picture had a face.")

    def _check_structure(self) -> None:
        if (self.structure_pooled is None) != (self.structure_hidden is None):
            raise FaceGenError("structure_pooled and structure_hidden belong together; only one of them was given.")
        if self.structure_pooled is None or self.structure_hidden is None:
            return
        if not len(self.structure_pooled) == len(self.structure_hidden) == len(self.identity):
            counts = f"{len(self.structure_pooled)} and {len(self.structure_hidden)}"
            raise FaceGenError(f"{len(self.identity)} identities but {counts} structures.")

    def __len__(self) -> int:
        return len(self.identity)

    def is_nobody(self, row: int) -> bool:
        """Whether this row stands for a latent without a face."""
        return self.per_image and row < len(self.faces) and self.faces[row] == NOBODY

    @property
    def normed_identity(self) -> Tensor:
        """Identity vectors of length 1, [n, 512]; a row for nobody stays 0."""
        length = self.identity.norm(dim=-1, keepdim=True)
        return self.identity / torch.where(length > 0, length, 1)

    @property
    def recognisers(self) -> set[str]:
        """Names of the recognisers that made these faces, as far as they are known."""
        return {face["recogniser"] for face in self.faces if "recogniser" in face}

    def require_recogniser(self, wanted: str, pack: str = "") -> None:
        """Raises WrongRecogniserError when a face is known to come from another recogniser than `wanted`; `pack` is its."""
        if other := self.recognisers - {wanted}:
            packs = {face.get("model_pack", "?") for face in self.faces if face.get("recogniser") in other}
            raise WrongRecogniserError(
                f"These faces were embedded with {', '.join(sorted(other))} (model pack {', '.join(sorted(packs))}), but "
                f"{wanted}{f' (model pack {pack})' if pack else ''} is needed. Numbers of two recognisers can't be compared."
            )

    def combined(self, how: str) -> "FaceEmbeds":
        """These n faces as one person ("average", "concat") or as n people ("one per image").

        average: the mean of the normalised identities, given back the mean length, and the means of the states.
        concat: kept apart; their FaceID tokens are concatenated, as the method does with several photos.
        """
        if how not in COMBINE:
            raise FaceGenError(f"Unknown way to combine faces: {how!r}. Choose one of: {', '.join(COMBINE)}.")
        if how != "average":
            return replace(self, per_image=how == "one per image")
        if len(self) == 1:
            return replace(self, per_image=False)
        return self.mean(torch.ones(len(self)))

    def mean(self, weights: Tensor) -> "FaceEmbeds":
        """One face: the weighted mean, weights [n] from 0, of the normalised identities, of the CLIP states and structure.

        The identity gets the weighted mean of the lengths back.
        """
        share = (weights.to(self.identity) / weights.sum())[:, None]
        direction = (share * self.normed_identity).sum(dim=0, keepdim=True)
        length = (share * self.identity.norm(dim=-1, keepdim=True)).sum()
        size = direction.norm()
        states: dict[str, Any] = {name: _weighted(share[:, 0], getattr(self, name)) for name in STATES}
        identity = direction / size * length if size > 1e-6 else torch.zeros_like(direction)
        return replace(self, identity=identity, per_image=False, **states)

    def rows(self, wanted: slice) -> "FaceEmbeds":
        """Some of the faces; `faces` stays, as it holds all that went in."""
        every = {name: getattr(self, name) for name in ("identity", *STATES)}
        taken: dict[str, Any] = {name: None if tensor is None else tensor[wanted] for name, tensor in every.items()}
        return replace(self, **taken)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all, readable by its owner only. Raises FaceGenError."""
        _save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> "FaceEmbeds":
        """Read a file that save() wrote. Raises UnreadableFileError when it is missing or damaged, NewerFileError when it
        is of another version, FaceGenError when it holds something else."""
        return _load(Path(path))


def _weighted(share: Tensor, states: Tensor | None) -> Tensor | None:
    """Mean [1, …] of states [n, …] in shares [n]; no copy of all is made, as they may be large."""
    return None if states is None else torch.tensordot(share.to(states), states, dims=1)[None]


# The file: the tensors under their own names, the faces as JSON in the metadata.


def _save(embeds: FaceEmbeds, path: Path) -> None:
    tensors = {name: getattr(embeds, name) for name in TENSORS}
    tensors = {name: t.detach().float().cpu().contiguous().clone() for name, t in tensors.items() if t is not None}
    faces = [{**face, PER_IMAGE: True} for face in embeds.faces] if embeds.per_image else list(embeds.faces)
    data = to_bytes(tensors, {"format": FORMAT, "version": VERSION, "faces": json.dumps(faces)})
    try:
        atomic_write(path, data)
    except OSError as error:
        raise FaceGenError(f"The face embeddings can't be written to {path}: {error}") from error


def _load(path: Path) -> FaceEmbeds:
    if not path.is_file():
        raise UnreadableFileError(f"There are no face embeddings at {path}.")
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
        raise UnreadableFileError(f"{path} can't be read as face embeddings: {error}.") from error
    _check_content(path, tensors, faces)
    per_image = bool(faces) and all(face.get(PER_IMAGE) for face in faces)
    plain = tuple({key: value for key, value in face.items() if key != PER_IMAGE} for face in faces)
    try:
        return FaceEmbeds(**{name: t.float() for name, t in tensors.items()}, faces=plain, per_image=per_image)
    except FaceGenError as error:
        raise UnreadableFileError(f"{path}: {error}") from error


def _are_numbers(value: object, count: int) -> bool:
    """Whether it is a list of so many finite numbers."""
    if not isinstance(value, list) or len(value) != count:
        return False
    return all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) <= MOST for one in value)


def _check_format(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise FaceGenError(f"{path} holds no face embeddings of this pack (format {metadata.get('format')!r}, not {FORMAT!r}).")
    if metadata.get("version") != VERSION:
        raise NewerFileError(f"{path} has version {metadata.get('version')!r}; this release reads version {VERSION}.")


def _check_content(path: Path, tensors: dict[str, torch.Tensor], faces: object) -> None:
    identity = tensors.get("identity")
    if identity is None or identity.ndim != 2 or identity.shape[1] != WIDTH:
        shape = "none" if identity is None else list(identity.shape)
        raise UnreadableFileError(f"{path} lacks the identity [n, {WIDTH}]; it holds {shape}.")
    wrong = [name for name, t in tensors.items() if name != "identity" and t.ndim != DIMENSIONS[name]]
    if wrong or any(not t.is_floating_point() for t in tensors.values()):
        kinds = ", ".join(f"{name} {t.dtype} {list(t.shape)}" for name, t in tensors.items())
        raise UnreadableFileError(f"{path} holds tensors of the wrong kind ({kinds}).")
    hidden, zero = tensors.get("clip_hidden"), tensors.get("clip_hidden_zero")
    if hidden is not None and zero is not None and zero.shape != (1, *hidden.shape[1:]):
        raise UnreadableFileError(
            f"{path}: clip_hidden_zero {list(zero.shape)} must be [1, {hidden.shape[1]}, {hidden.shape[2]}], as clip_hidden is."
        )
    if not isinstance(faces, list) or not all(isinstance(face, dict) for face in faces):
        raise UnreadableFileError(f"{path}: `faces` in its metadata is not a list of faces.")
    for face in faces:
        for name, is_right in KNOWN.items():
            if name in face and not is_right(face[name]):
                raise UnreadableFileError(f"{path}: `{name}` of a face in its metadata can't be {json.dumps(face[name])[:80]}.")
