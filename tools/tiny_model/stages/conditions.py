"""What is known of the drawings when a UNet learns from them: their latents, who is on them and how the face is held."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..data import Drawings, aligned
from ..drawings.person import STYLES
from ..worker import Worker, save
from .faces import as_input, clip_pixels


@dataclass(frozen=True)
class Conditions:
    """What was computed of the drawings; the first three axes are people, views and styles.

    latents [..., 4, 16, 16]; identities [..., 512], normalised; states [..., 257, 64]; nothing: CLIP's states of zeros.
    """

    latents: np.ndarray
    identities: np.ndarray
    states: np.ndarray
    nothing: np.ndarray


def photo_of(drawings: Drawings, rng: np.random.Generator, person: int, view: int) -> tuple[int, int, int]:
    """A drawing of the person as the person is, realistic in every second case."""
    fitting = np.flatnonzero(~drawings.changed[person, view])
    if not len(fitting):
        view, fitting = 0, np.arange(len(STYLES))
    realistic = STYLES.index("realistic")
    style = realistic if realistic in fitting and rng.random() < 0.5 else int(rng.choice(fitting))
    return person, view, style


def make_conditions(worker: Worker, drawings: Drawings, latents: np.ndarray, recogniser, clip_vision) -> Conditions:
    """Of the drawings and their latents; each process looks at its share of the people."""
    identities, states = _made(worker, drawings, recogniser, clip_vision)
    with torch.no_grad():
        nothing = _states(clip_vision, torch.zeros(1, 3, 224, 224, device=worker.device))[0]
    return Conditions(latents, identities, states, nothing.cpu().numpy())


def _states(clip_vision, pixels: torch.Tensor) -> torch.Tensor:
    return clip_vision(pixels, output_hidden_states=True).hidden_states[-2]


def _made(worker: Worker, drawings: Drawings, recogniser, clip_vision) -> tuple[np.ndarray, np.ndarray]:
    """Normalised identities [people, views, styles, 512] and CLIP states [people, views, styles, 257, 64], float16."""
    folder = worker.folder / "conditions"
    folder.mkdir(exist_ok=True)
    path = folder / f"{worker.rank}.of.{worker.world}.pt"
    if not path.is_file():
        worker.say("conditions: identities and CLIP states of the drawings")
        done = [
            _of_person(worker, drawings, n, recogniser, clip_vision) for n in range(worker.rank, drawings.people, worker.world)
        ]
        save([torch.stack(part) for part in zip(*done, strict=True)], path)
    worker.wait()
    shape = drawings.pictures.shape[:3]
    found: list = [None, None]
    for rank in range(worker.world):
        parts = torch.load(folder / f"{rank}.of.{worker.world}.pt", weights_only=True, mmap=True)
        for i, part in enumerate(parts):
            if found[i] is None:
                found[i] = np.empty((shape[0], *part.shape[1:]), np.float16)
            found[i][rank :: worker.world] = part.numpy()
    return tuple(part.reshape(*shape, *part.shape[2:]) for part in found)


@torch.no_grad()
def _of_person(worker: Worker, drawings: Drawings, person: int, recogniser, clip_vision):
    pictures = drawings.pictures[person].reshape(-1, *drawings.pictures.shape[3:])
    points = drawings.points[person].reshape(-1, 5, 2)

    def faces(side: int) -> np.ndarray:
        return np.stack([aligned(picture, kps, side) for picture, kps in zip(pictures, points, strict=True)])

    identities = F.normalize(recogniser(as_input(faces(112)).to(worker.device)), dim=-1)
    states = _states(clip_vision, clip_pixels(faces(224)).to(worker.device))
    return identities.half().cpu(), states.half().cpu()
