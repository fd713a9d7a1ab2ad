"""Several faces to one, and which of them is of somebody else."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...errors import (
    FaceGenError,
    MissingStructureError,
    NoFaceError,
    SeveralPeopleError,
    WrongClipVisionError,
    WrongRecogniserError,
)
from .embeds import STATES, FaceEmbeds

METHODS = ("average", "concat", "subtract")


def combine_faces(face_embeds: dict[str, FaceEmbeds], weights: dict[str, float], method: str) -> FaceEmbeds:
    """One person out of several face embeds, by name in order; each is taken as its own average first.

    average   weighted mean of the normalised identities, given back the mean length, and of the states.
    concat    each keeps its own tokens. A weight is 1, or 0 to leave it out.
    subtract  the first identity, times its weight, less the others, times theirs. Structure and length stay the first's.

    Raises NoFaceError for none at all; FaceGenError when nobody is left; SeveralPeopleError, WrongClipVisionError or
    WrongRecogniserError when they don't go together.
    """
    if method not in METHODS:
        raise FaceGenError(f"Unknown way to combine faces: {method!r}. Choose one of: {', '.join(METHODS)}.")
    if not face_embeds:
        raise NoFaceError("There are no faces to combine.")
    _check(face_embeds, weights, method)
    used = {name: each.combined("average") for name, each in face_embeds.items() if weights[name] > 0}
    if not used:
        raise FaceGenError("Every weight is 0, so nobody is left. One of them must be above 0.")
    first = next(iter(face_embeds))
    if method == "subtract" and first not in used:
        raise FaceGenError(f"subtract takes the others from {first}, so its weight must be above 0.")
    together = _stack(list(used.values()))
    share = torch.tensor([weights[name] for name in used], dtype=torch.float32)
    if method == "average":
        return together.mean(share)
    return together if method == "concat" else _subtract(together, share)


def _subtract(faces: FaceEmbeds, weights: Tensor) -> FaceEmbeds:
    """The first face less the others, weights [n]; what is left points away from them."""
    signs = torch.cat([weights[:1], -weights[1:]])[:, None]
    left = (signs * faces.normed_identity).sum(dim=0, keepdim=True)
    size = left.norm()
    identity = left / size * faces.identity[:1].norm() if size > 1e-6 else torch.zeros_like(left)
    return replace(faces.rows(slice(1)), identity=identity)


def _stack(faces: list[FaceEmbeds]) -> FaceEmbeds:
    together: dict[str, Any] = {}
    for name in ("identity", *STATES):
        parts = [tensor for tensor in (getattr(f, name) for f in faces) if tensor is not None]
        together[name] = torch.cat(parts) if parts else None
    return replace(faces[0], **together, faces=tuple(face for f in faces for face in f.faces))


def _check(face_embeds: dict[str, FaceEmbeds], weights: dict[str, float], method: str) -> None:
    if several := [name for name, each in face_embeds.items() if each.per_image]:
        raise SeveralPeopleError(f"{', '.join(several)} holds one face per image, which are several people; one is needed.")
    states = {name: _states_in_words(each) for name, each in face_embeds.items()}
    if len(set(states.values())) > 1:
        given = ", ".join(f"{name}: {words}" for name, words in states.items())
        raise WrongClipVisionError(f"The CLIP vision states differ ({given}). All faces need those of one model, or none.")
    _check_structures(face_embeds)
    recognisers = {name: each.recognisers for name, each in face_embeds.items() if each.recognisers}
    if len(set[str]().union(*recognisers.values())) > 1:
        given = ", ".join(f"{name}: {' and '.join(sorted(names))}" for name, names in recognisers.items())
        raise WrongRecogniserError(f"The faces come from different recognisers ({given}). All must come from one.")
    if method == "concat" and (partly := [name for name in face_embeds if weights[name] not in (0, 1)]):
        raise FaceGenError(
            f"concat knows the weights 1 and 0 (left out) only; {partly[0]} has {weights[partly[0]]:g}. "
            "average takes weights in between."
        )


def _check_structures(face_embeds: dict[str, FaceEmbeds]) -> None:
    shapes = {
        name: "none" if each.structure_hidden is None else f"{list(each.structure_hidden.shape[1:])}"
        for name, each in face_embeds.items()
    }
    if len(set(shapes.values())) > 1:
        given = ", ".join(f"{name}: {words}" for name, words in shapes.items())
        raise MissingStructureError(f"The structures differ ({given}). All faces need that of one vision tower, or none.")


def _states_in_words(face_embeds: FaceEmbeds) -> str:
    if face_embeds.clip_hidden is None:
        return "none"
    count, width = face_embeds.clip_hidden.shape[1:]
    return f"{count} states of width {width}"


def outliers(identities: Tensor, same_person: float) -> dict[int, float]:
    """Which of the normalised identities [n, 512] are of somebody else: index -> mean cosine to those that remain.

    The one least like the others goes first, while it lies below same_person; then the rest is judged again. Of
    two that differ it can't be said which is the wrong one, so both are given.
    """
    cosines = identities @ identities.T
    remaining = list(range(len(identities)))
    wrong: dict[int, float] = {}
    while len(remaining) > 1:
        mean = {i: (sum(cosines[i, j].item() for j in remaining if j != i)) / (len(remaining) - 1) for i in remaining}
        worst = min(mean, key=mean.__getitem__)
        if mean[worst] >= same_person:
            break
        if len(remaining) == 2:
            return wrong | mean
        wrong[worst] = mean[worst]
        remaining.remove(worst)
    return wrong
