"""Best of N: draw more pictures than are wanted and keep those that look like the person."""

import comfy.model_management
import torch

from ...errors import FaceGenError
from ...models.face.likeness import Likeness, best_first, likenesses
from ..likeness import in_words
from .reports import report

SEEDS = 2**64


def best_of(draw, seed, candidates, face_analysis, face_embeds):
    """(images, latent, UI text): the pictures of one round, or the best of as many rounds as `candidates` need.

    draw(seed) gives the images [B, H, W, 3] and the latent of one round. Round r uses seed + r, so that any picture can be
    drawn again. The last round is drawn whole. The best come first; with one face per image, each place gets its own best.
    Raises FaceGenError when candidates are asked for and there is nobody to judge them.
    """
    images, latent = draw(seed)
    size = len(images)
    if candidates <= size:
        return images, latent, report("")
    if face_analysis is None:
        raise FaceGenError(
            f"Face Portrait Sampler: to choose the best of {candidates} candidates, connect Load Face Analyzer to "
            "face_analysis, or set candidates to 1."
        )
    rounds = [(images, latent)]
    scores = likenesses(images, face_analysis, face_embeds)
    for number in range(1, -(-candidates // size)):
        comfy.model_management.throw_exception_if_processing_interrupted()
        rounds.append(draw((seed + number) % SEEDS))
        scores += likenesses(rounds[-1][0], face_analysis, face_embeds)
    scores = [Likeness(number, score.cosine) for number, score in enumerate(scores)]
    kept = _keep(scores, size, face_embeds.per_image)
    chosen = [score.picture for score in kept]
    every, samples = torch.cat([r[0] for r in rounds]), torch.cat([r[1]["samples"] for r in rounds])
    text = f"best {size} of {len(every)}; picture n was drawn with seed + n // {size}\n" + in_words(kept)
    return every[chosen], {**latent, "samples": samples[chosen]}, report(text)


def _keep(scores, size, per_image):
    if not per_image:
        return best_first(scores)[:size]
    return [best_first(scores[place::size])[0] for place in range(size)]
