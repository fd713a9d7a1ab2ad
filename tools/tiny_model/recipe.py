"""The stages of training, in order, from nothing to the files of models/tiny."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from .data import Drawings
from .judge import Judge, train_judge
from .language import load_tokenizer
from .stages.autoencoder import Narrow, train_autoencoder
from .stages.conditions import make_conditions
from .stages.decoder import train_decoder, train_on_sampled
from .stages.diffusion import LatentDiffusion, train_diffusion
from .stages.faces import VisionTraining, train_clip_vision, train_recogniser
from .stages.finder import Finder, train_finder
from .worker import Worker, save


@dataclass(frozen=True)
class Batches:
    """Examples a step, of all processes together."""

    recogniser: int = 64  # people, each twice
    clip_vision: int = 24
    finder: int = 64
    autoencoder: int = 12
    tokens: int = 64
    diffusion: int = 12
    judge: int = 64


SMALLEST = Batches(recogniser=8, clip_vision=4, finder=10, autoencoder=2, tokens=4, diffusion=2, judge=4)
ON_A_GPU = Batches(recogniser=512, clip_vision=192, finder=256, autoencoder=48, tokens=512, diffusion=128, judge=256)


@dataclass(frozen=True)
class Plan:
    """How much of everything; steps are of all processes together, and count where time isn't limited."""

    people: int = 2400
    recogniser: int = 1500
    clip_vision: int = 2600
    finder: int = 1000
    autoencoder: int = 5000
    decoder: int = 2000
    tokens: int = 1200
    diffusion: int = 11000
    adapter: int = 1500
    retouch: int = 2000
    judge: int = 700
    portraits: int = 2048  # sampled, for the last stage
    batches: Batches = Batches()


# Of a limited time. Nothing waits for the drawings: each stage takes those that are there.
SHARES = {
    "autoencoder": 0.13,
    "decoder": 0.09,
    "recogniser": 0.06,
    "clip_vision": 0.06,
    "finder": 0.02,
    "judge": 0.025,
    "tokens": 0.02,
    "painter": 0.44,
    "adapter": 0.09,
    "retouch": 0.08,
}


def stages_until(last: str | None) -> dict[str, float]:
    """SHARES of the stages up to that one; of all, if it is None."""
    names = list(SHARES)
    return {name: SHARES[name] for name in names[: names.index(last) + 1 if last else None]}


@dataclass(frozen=True)
class Trained:
    recogniser: torch.nn.Module
    finder: Finder
    vision: VisionTraining
    autoencoder: Narrow
    diffusion: LatentDiffusion
    judge: Judge
    tokenizer: Path


def train_all(worker: Worker, plan: Plan, often: Callable[[Trained], None] | None = None) -> Trained:
    """Every stage, or what is left of it, of the drawings in worker.folder. `often` sees what there is while the UNet learns.
    Raises ValueError when the folder belongs to another seed or plan, and Reached after the worker's last stage."""
    _same_plan(worker, plan)
    tokenizer, drawings, batches = worker.folder / "tokenizer", Drawings(worker, "drawings"), plan.batches
    autoencoder = train_autoencoder(worker, drawings, plan.autoencoder, batches.autoencoder)
    train_decoder(worker, drawings, autoencoder, plan.decoder, batches.autoencoder)
    recogniser = train_recogniser(worker, drawings, plan.recogniser, batches.recogniser)
    vision = train_clip_vision(worker, drawings, plan.clip_vision, batches.clip_vision)
    finder = train_finder(worker, drawings, plan.finder, batches.finder)
    judge = train_judge(worker, drawings, plan.judge, batches.judge)
    drawings.settle()
    conditions = make_conditions(worker, drawings, autoencoder, recogniser, vision)

    def trained(diffusion: LatentDiffusion) -> Trained:
        return Trained(recogniser, finder, vision, autoencoder, diffusion, judge, tokenizer)

    diffusion = train_diffusion(
        worker,
        drawings,
        conditions,
        load_tokenizer(tokenizer),
        (plan.tokens, plan.diffusion, plan.adapter),
        batches.diffusion,
        batches.tokens,
        often and (lambda diffusion: often(trained(diffusion))),
    )
    train_on_sampled(
        worker,
        drawings,
        conditions,
        diffusion,
        load_tokenizer(tokenizer),
        autoencoder,
        plan.portraits,
        plan.retouch,
        batches.autoencoder,
    )
    return trained(diffusion)


def _same_plan(worker: Worker, plan: Plan) -> None:
    note = worker.folder / "plan.pt"
    wanted = {"seed": worker.seed, **asdict(plan)}
    if not note.is_file() and worker.rank == 0:
        save(wanted, note)
    worker.wait()
    found = torch.load(note, weights_only=True)
    if found != wanted:
        raise ValueError(f"{worker.folder} holds a training of another seed or plan: {found}, not {wanted}.")
