"""What is known of the drawings when a UNet learns from them: their latents, who is on them and how the face is held."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..crops import aligned, channels_first
from ..data import EACH, Drawings
from ..networks import Recogniser
from ..worker import Worker, save
from .autoencoder import Narrow, as_pictures
from .faces import VisionTraining, as_input

AT_ONCE = 40  # drawings, of whole people


@dataclass(frozen=True)
class Conditions:
    """What was computed of the drawings, row by row.

    latents [rows, 4, side, side]; identities [rows, 512], normalised; states [rows, 257, width]; nothing: CLIP's states of
    zeros, [257, width].
    """

    latents: Tensor
    identities: Tensor
    states: Tensor
    nothing: Tensor


@torch.no_grad()
def make_conditions(
    worker: Worker, drawings: Drawings, autoencoder: Narrow, recogniser: Recogniser, vision: VisionTraining
) -> Conditions:
    """Of all drawings; each process looks at its share of them."""

    def look(rows: Tensor) -> tuple[Tensor, ...]:
        pictures, points = drawings.pictures[rows], drawings.points[rows]
        faces = channels_first(pictures)
        with worker.fast():
            latents = autoencoder.encode(as_pictures(pictures))
        states = vision.states(vision.pixels(aligned(faces, points, 224)))
        identities = F.normalize(recogniser(as_input(aligned(faces, points, 112).round())).float(), dim=-1)
        return tuple(part.half() for part in (latents, identities, states))

    worker.say("conditions: latents, identities and CLIP states of the drawings")
    found = _shared(worker, drawings.ready * EACH, look)
    nothing = vision.states(torch.zeros(1, 3, 224, 224, device=worker.device))[0]
    return Conditions(*found, nothing)


def _shared(worker: Worker, rows: int, look: Callable[[Tensor], tuple[Tensor, ...]]) -> list[Tensor]:
    """`look` of all rows, in order. On a GPU it is done anew after a stop; elsewhere what was done is kept."""
    if worker.device.type == "cpu":
        done = _kept(worker, rows, look)
    else:
        done = [look(part) for part in torch.arange(rows, device=worker.device).split(8 * AT_ONCE)]
    return [torch.cat(parts) for parts in zip(*done, strict=True)]


def _kept(worker: Worker, rows: int, look: Callable[[Tensor], tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    folder = worker.folder / "conditions"
    folder.mkdir(exist_ok=True)
    chunks = torch.arange(rows).split(AT_ONCE)

    def path(rank: int) -> Path:
        return folder / f"{rank}.of.{worker.world}.pt"

    if not path(worker.rank).is_file():
        save([look(chunk) for chunk in chunks[worker.rank :: worker.world]], path(worker.rank))
    worker.wait()
    shares = [torch.load(path(rank), weights_only=True) for rank in range(worker.world)]
    return [shares[n % worker.world][n // worker.world] for n in range(len(chunks))]
