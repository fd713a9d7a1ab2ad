"""Several faces to one, and which of them is of somebody else."""

from dataclasses import replace

import torch
from torch import Tensor

from ...errors import FaceGenError
from .embeds import FaceEmbeds
from .likeness import SAME_PERSON

METHODS = ("average", "concat", "subtract")


def combine_faces(people: dict[str, FaceEmbeds], weights: dict[str, float], method: str) -> FaceEmbeds:
    """One person out of several embeddings, by name in order; each is taken as its own average first.

    average   weighted mean of the normalised identities, given back the mean length, and of the CLIP states.
    concat    each keeps its own tokens. A weight is 1, or 0 to leave it out.
    subtract  the first identity, times its weight, less the others, times theirs. Structure and length stay the first's.

    Raises FaceGenError when nothing is left, or when the embeddings don't go together.
    """
    if method not in METHODS:
        raise FaceGenError(f"Unknown way to combine faces: {method!r}. Choose one of: {', '.join(METHODS)}.")
    if not people:
        raise FaceGenError("Combine Faces has nothing connected. Connect Embed Face to face_embeds_1.")
    _check(people, weights, method)
    used = {name: embeds.combined("average") for name, embeds in people.items() if weights[name] > 0}
    if not used:
        raise FaceGenError("Combine Faces: every weight is 0, so nobody is left. Raise one of them.")
    first = next(iter(people))
    if method == "subtract" and first not in used:
        raise FaceGenError(f"Combine Faces: subtract takes the others from {first}, so its weight must be above 0.")
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
    hidden = None if faces.clip_hidden is None else faces.clip_hidden[:1]
    return replace(faces, identity=identity, clip_hidden=hidden)


def _stack(faces: list[FaceEmbeds]) -> FaceEmbeds:
    hidden = None if faces[0].clip_hidden is None else torch.cat([f.clip_hidden for f in faces])
    metadata = tuple(face for f in faces for face in f.faces)
    return FaceEmbeds(torch.cat([f.identity for f in faces]), hidden, faces[0].clip_hidden_zero, metadata)


def _check(people: dict[str, FaceEmbeds], weights: dict[str, float], method: str) -> None:
    if several := [name for name, embeds in people.items() if embeds.per_image]:
        raise FaceGenError(
            f"Combine Faces: {', '.join(several)} holds one face per image, which are several people. Set combine to "
            "average or concat on its Embed Face."
        )
    widths = {name: None if e.clip_hidden is None else tuple(e.clip_hidden.shape[1:]) for name, e in people.items()}
    if len(set(widths.values())) > 1:
        given = ", ".join(f"{name}: {'none' if w is None else f'width {w[-1]}'}" for name, w in widths.items())
        raise FaceGenError(f"Combine Faces: the CLIP vision states differ ({given}). Use the same clip_vision for all.")
    recognisers = {name: embeds.recognisers for name, embeds in people.items() if embeds.recognisers}
    if len(set().union(*recognisers.values())) > 1:
        given = ", ".join(f"{name}: {' and '.join(sorted(r))}" for name, r in recognisers.items())
        raise FaceGenError(f"Combine Faces: the faces come from different recognisers ({given}). Use one model pack for all.")
    if method == "concat" and (partly := [name for name in people if weights[name] not in (0, 1)]):
        raise FaceGenError(
            f"Combine Faces: concat knows the weights 1 and 0 (left out) only; {partly[0]} has {weights[partly[0]]:g}. "
            "Use average for weights in between."
        )


def outliers(identities: Tensor) -> dict[int, float]:
    """Which of the normalised identities [n, 512] are of somebody else: index -> mean cosine to those that remain.

    The one least like the others goes first, while it lies below likeness.SAME_PERSON; then the rest is judged again. Of
    two that differ it can't be said which is the wrong one, so both are given.
    """
    cosines = identities @ identities.T
    remaining, wrong = list(range(len(identities))), {}
    while len(remaining) > 1:
        mean = {i: (sum(cosines[i, j].item() for j in remaining if j != i)) / (len(remaining) - 1) for i in remaining}
        worst = min(mean, key=mean.get)
        if mean[worst] >= SAME_PERSON:
            break
        if len(remaining) == 2:
            return wrong | mean
        wrong[worst] = mean[worst]
        remaining.remove(worst)
    return wrong
