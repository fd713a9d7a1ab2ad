"""Best of N: generate more pictures than are wanted and keep those that look like the person."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...errors import FaceGenError
from ...models.face.analysis import FaceAnalysis
from ...models.face.embeds import FaceEmbeds
from ...models.face.likeness import Likeness, best_first, in_words, likenesses
from .reports import cancellable, report

SEEDS = 2**64
Latent = dict[str, Any]  # ComfyUI's LATENT: "samples" [B, C, h, w] and what else belongs to it


def best_of(
    generate: Callable[[int], tuple[Tensor, Latent]],
    seed: int,
    candidates: int,
    face_analysis: FaceAnalysis | None,
    face_embeds: FaceEmbeds,
) -> tuple[Tensor, Latent, dict[str, Any]]:
    """(images, latent, UI text): the pictures of one round, or the best of as many rounds as `candidates` need.

    generate(seed) gives the images [B, H, W, 3] and the latent of one round. Round r uses seed + r, so that any picture can
    be made again. The last round is made whole. The best come first; with one face per image, each place gets its own best.
    Raises FaceGenError when candidates are asked for and there is nobody to judge them.
    """
    images, latent = generate(seed)
    size = len(images)
    if candidates <= size:
        return images, latent, report("")
    if face_analysis is None:
        raise FaceGenError(
            f"To choose the best of {candidates} candidates, connect Load Face Analyzer to face_analysis, or set candidates "
            "to 1."
        )
    rounds = [(images, latent)]
    scores = likenesses(images, face_analysis, face_embeds, cancellable)
    for number in range(1, -(-candidates // size)):
        comfy.model_management.throw_exception_if_processing_interrupted()
        rounds.append(generate((seed + number) % SEEDS))
        scores += likenesses(rounds[-1][0], face_analysis, face_embeds, cancellable)
    scores = [replace(score, picture=number) for number, score in enumerate(scores)]
    kept = _keep(scores, size, face_embeds.per_image)
    chosen = [score.picture for score in kept]
    every, samples = torch.cat([r[0] for r in rounds]), torch.cat([r[1]["samples"] for r in rounds])
    text = f"best {size} of {len(every)}; picture n was generated with seed + n // {size}\n" + in_words(kept)
    return every[chosen], {**latent, "samples": samples[chosen]}, report(text)


def _keep(scores: list[Likeness], size: int, per_image: bool) -> list[Likeness]:
    if not per_image:
        return best_first(scores)[:size]
    return [best_first(scores[place::size])[0] for place in range(size)]
