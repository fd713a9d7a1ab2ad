"""The stages of training, in order, from nothing to the files of models/tiny."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from .data import make_drawings
from .language import load_tokenizer, save_tokenizer
from .stages.autoencoder import Narrow, make_latents, train_autoencoder
from .stages.conditions import make_conditions
from .stages.diffusion import LatentDiffusion, train_diffusion
from .stages.faces import train_clip_vision, train_recogniser
from .stages.finder import train_finder
from .worker import Worker, save


@dataclass(frozen=True)
class Plan:
    """How much of everything; steps are of all processes together."""

    people: int = 2400
    recogniser: int = 1500
    clip_vision: int = 2600
    finder: int = 1000
    autoencoder: int = 5000
    tokens: int = 1200
    diffusion: int = 11000
    adapter: int = 1500
    judge: int = 700
    batch: int = 12


@dataclass(frozen=True)
class Trained:
    recogniser: torch.nn.Module
    finder: torch.nn.Module
    clip_vision: torch.nn.Module
    autoencoder: Narrow
    diffusion: LatentDiffusion
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
    conditions = make_conditions(worker, drawings, latents, recogniser, clip_vision)
    steps = plan.tokens, plan.diffusion, plan.adapter
    diffusion = train_diffusion(worker, drawings, conditions, load_tokenizer(tokenizer), steps, plan.batch)
    return Trained(recogniser, finder, clip_vision, autoencoder, diffusion, tokenizer)


def _same_plan(worker: Worker, plan: Plan) -> None:
    note = worker.folder / "plan.pt"
    wanted = {"seed": worker.seed, **asdict(plan)}
    if not note.is_file() and worker.rank == 0:
        save(wanted, note)
    worker.wait()
    found = torch.load(note, weights_only=True)
    if found != wanted:
        raise ValueError(f"{worker.folder} holds a training of another seed or plan: {found}, not {wanted}.")
