"""The stages of training, in order, from nothing to the files of models/tiny."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .autoencoder import Narrow, make_latents, train_autoencoder
from .data import Drawings, aligned, make_drawings
from .diffusion import Conditions, Painter, train_painter
from .faces import as_input, clip_pixels, train_clip_vision, train_recogniser
from .finder import train_finder
from .language import load_tokenizer, save_tokenizer
from .worker import Worker, save


@dataclass(frozen=True)
class Plan:
    """How much of everything; steps are of all processes together."""

    people: int = 2400
    recogniser: int = 1500
    clip_vision: int = 2600
    finder: int = 1000
    autoencoder: int = 2600
    painter: int = 3700
    adapter: int = 700
    judge: int = 700
    batch: int = 12


@dataclass(frozen=True)
class Trained:
    recogniser: torch.nn.Module
    finder: torch.nn.Module
    clip_vision: torch.nn.Module
    autoencoder: Narrow
    painter: Painter
    tokenizer: Path


def train_all(worker: Worker, plan: Plan) -> Trained:
    """Every stage, or what is left of it. Raises ValueError when the folder belongs to another seed or plan."""
    _same_plan(worker, plan)
    tokenizer = worker.folder / "tokenizer"
    if worker.rank == 0:
        save_tokenizer(tokenizer)
    drawings = make_drawings(worker, "drawings", plan.people)
    recogniser = train_recogniser(worker, drawings, plan.recogniser)
    clip_vision = train_clip_vision(worker, drawings, plan.clip_vision)
    finder = train_finder(worker, drawings, plan.finder)
    autoencoder = train_autoencoder(worker, drawings, plan.autoencoder)
    latents = make_latents(worker, drawings, autoencoder)
    identities, states = _conditions(worker, drawings, recogniser, clip_vision)
    with torch.no_grad():
        nothing = _states(clip_vision, torch.zeros(1, 3, 224, 224, device=worker.device))[0]
    conditions = Conditions(latents, identities, states, nothing.cpu().numpy())
    steps = plan.painter, plan.adapter
    painter = train_painter(worker, drawings, conditions, load_tokenizer(tokenizer), steps, plan.batch)
    return Trained(recogniser, finder, clip_vision, autoencoder, painter, tokenizer)


def _same_plan(worker: Worker, plan: Plan) -> None:
    note = worker.folder / "plan.pt"
    wanted = {"seed": worker.seed, **asdict(plan)}
    if not note.is_file() and worker.rank == 0:
        save(wanted, note)
    worker.wait()
    found = torch.load(note, weights_only=True)
    if found != wanted:
        raise ValueError(f"{worker.folder} holds a training of another seed or plan: {found}, not {wanted}.")


def _states(clip_vision, pixels: torch.Tensor) -> torch.Tensor:
    return clip_vision(pixels, output_hidden_states=True).hidden_states[-2]


def _conditions(worker: Worker, drawings: Drawings, recogniser, clip_vision) -> tuple[np.ndarray, np.ndarray]:
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
