"""Training in one or several processes that share each batch; every stage goes on where it was stopped."""

import datetime
import math
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...atomic_write import atomic_path
from .steps import Step, on_a_stream

UNFINISHED = ".unfinished.pt"  # how the names of checkpoints of stages end that aren't done
SAVE_EVERY = 120  # seconds
SAY_EVERY = 15  # seconds
PATIENCE = datetime.timedelta(minutes=30)  # for the slowest part that one process does alone
WARM_UP = 0.03  # of a stage
AVERAGE_EVERY = 4  # steps
ANEW = 100  # steps in which the rate rises again where weights come without their optimiser, whose first steps are the largest
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Box:
    """A time for the whole training: each stage gets its share of what is left when it begins.

    end: time.monotonic() by which the last one stops; shares: stage -> share, in order; drawn_by: when at the latest nobody
    waits for drawings any more.
    """

    end: float
    shares: dict[str, float]
    drawn_by: float = 0.0

    def seconds(self, stage: str) -> float:
        names = list(self.shares)
        left = sum(self.shares[name] for name in names[names.index(stage) :])
        return max(0.0, self.end - time.monotonic()) * self.shares[stage] / left


class Reached(Exception):
    """The stage is done that was to be the last one."""


@dataclass(frozen=True)
class Worker:
    """One of `world` processes. `folder` holds what is finished and the checkpoints of what isn't.

    box: None trains by steps. recorded: on a GPU, each stage's step is recorded once and replayed (CUDA graphs). trial: the
    number of steps of every stage, to see what a step costs. until: the last stage that is wanted, if not all are. keep: what
    the first process does after each checkpoint.
    """

    folder: Path
    seed: int
    rank: int = 0
    world: int = 1
    device: torch.device = CPU
    box: Box | None = None
    recorded: bool = False
    trial: int = 0
    until: str | None = None
    keep: Callable[[], None] = lambda: None

    def join(self) -> None:
        """Meet the other processes. A call that waits longer than PATIENCE for one of them raises RuntimeError."""
        if self.world > 1:
            meeting = (self.folder / "meeting").resolve().as_uri()
            dist.init_process_group("gloo", init_method=meeting, rank=self.rank, world_size=self.world, timeout=PATIENCE)

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()

    def say(self, text: str) -> None:
        if self.rank == 0:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def passed(self, stage: str) -> None:
        """Raises Reached when no stage is wanted after this one."""
        if stage == self.until:
            raise Reached(f"{stage} was to be the last stage of this run")

    def chance(self, stage: str, step: int = 0) -> None:
        """Seed torch's chance: of this process alone, and the same whenever the step is done again."""
        torch.manual_seed(zlib.crc32(f"{self.seed} {stage} {step} {self.rank}".encode()))

    def build(self, make: Callable[[], nn.Module]) -> nn.Module:
        """A network with the same random weights in every process and every run."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return make().to(self.device)

    def fast(self) -> AbstractContextManager:
        """Networks in bfloat16 where the device is fast at it."""
        return torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, mean in zip(tensors, flat.div_(self.world).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


@dataclass
class Averaged:
    """The running mean of parameters, which ends steadier than they do."""

    parameters: list[Tensor]
    keep: float  # per step

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.mean = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        keep = min(self.keep, (1 + step) / (10 + step)) ** AVERAGE_EVERY
        torch._foreach_lerp_(self.mean, self.parameters, 1 - keep)

    @torch.no_grad()
    def swap(self) -> None:
        """Mean and parameters change places."""
        for mean, parameter in zip(self.mean, self.parameters, strict=True):
            now = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(now)

    def state_dict(self) -> dict[str, list[Tensor]]:
        return {"mean": self.mean}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        torch._foreach_copy_(self.mean, state["mean"])


@dataclass
class Clock:
    """How far a stage is, 0 to 1: by steps, or by its seconds where time is limited. Two processes go by the first one's."""

    worker: Worker
    steps: int
    seconds: float | None
    before: float = 0.0  # what earlier runs did of it

    def __post_init__(self) -> None:
        self.began = time.monotonic()

    def at(self, step: int) -> float:
        if self.seconds is None:
            return step / self.steps
        spent = (time.monotonic() - self.began) / max(self.seconds, 1e-3)
        far = torch.tensor(min(1.0, self.before + (1 - self.before) * spent), dtype=torch.float64)
        if self.worker.world > 1:
            dist.broadcast(far, 0)
        return far.item()


def train(
    worker: Worker,
    name: str,
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    rate: float,
    keep: float = 0.0,
    between: Callable[[], None] = lambda: None,
    often: tuple[float, Callable[[], None]] | None = None,
) -> None:
    """Fit the parameters of `module` that want gradients to `loss`, and leave it in evaluation mode.

    `loss` is told how far the stage is (a tensor, 0 to 1) and uses torch's own chance. AdamW; the rate rises over WARM_UP, then
    falls to 0 as a cosine. keep: above 0, the parameters end as their running mean. between: done between steps. often:
    (seconds, what is done every so many of them, with the running mean in place). Raises Reached after the worker's last stage.
    """
    final, unfinished = worker.folder / f"{name}.pt", worker.folder / f"{name}{UNFINISHED}"
    if final.is_file():
        module.load_state_dict(torch.load(final, weights_only=True, map_location=worker.device))
        module.eval()
        worker.passed(name)
        return
    wanted = [p for p in module.parameters() if p.requires_grad]
    module.train()
    with on_a_stream(worker.device):
        step = Step(worker, name, wanted, loss, rate)
        averaged = Averaged(wanted, keep)
        parts = {"module": module, "optimizer": step.optimizer, "averaged": averaged}
        first, before, whole = _resume(unfinished, parts, worker)
        step.rise = 1 if whole else ANEW
        clock = Clock(worker, worker.trial or steps, worker.box.seconds(name) if worker.box else None, before)
        _run(worker, step, clock, averaged, first, (unfinished, parts), between, often)
        if keep:
            averaged.swap()
    worker.average([b for b in module.buffers() if b.is_floating_point()])  # batch norm's statistics
    if worker.rank == 0:
        save(module.state_dict(), final)
        unfinished.unlink(missing_ok=True)
        worker.keep()
    worker.wait()
    module.eval()
    worker.say(f"{name}: done in {time.monotonic() - clock.began:.0f} s")
    worker.passed(name)


def _run(
    worker: Worker,
    step: Step,
    clock: Clock,
    averaged: Averaged,
    number: int,
    kept: tuple,
    between: Callable,
    often: tuple | None,
) -> None:
    """All steps from that number on."""
    said = saved = done = time.monotonic()
    path, parts = kept
    while (far := clock.at(number)) < 1:
        between()
        worker.chance(step.name, number)
        step.take(far, _rate(far, clock))
        number += 1
        if averaged.keep and number % AVERAGE_EVERY == 0:
            averaged.follow(number)
        now = time.monotonic()
        if now - said > SAY_EVERY:
            worker.say(f"{step.name}: step {number}, {far:.0%}, {step.summary()}")
            said = now
        if worker.rank == 0 and now - saved > SAVE_EVERY:
            far = clock.at(number) if worker.world == 1 else far
            save({"step": number, "far": far} | {key: part.state_dict() for key, part in parts.items()}, path)
            worker.keep()
            saved = time.monotonic()
        if often and now - done > often[0]:
            with_mean(averaged, often[1])
            done = time.monotonic()
    worker.say(f"{step.name}: {number} steps, {step.summary()}")
    step.forget()


def with_mean(averaged: Averaged, what: Callable[[], None]) -> None:
    averaged.swap()
    try:
        what()
    finally:
        averaged.swap()


def _rate(far: float, clock: Clock) -> float:
    """Share of the rate."""
    steps = clock.steps if clock.seconds is None else 10_000
    rise, next_ = max(1, round(WARM_UP * steps)) / steps, far + 1 / steps
    return min(1.0, next_ / rise) if far < rise else 0.5 + 0.5 * math.cos(math.pi * (far - rise) / max(1e-9, 1 - rise))


def _resume(path: Path, parts: dict, worker: Worker) -> tuple[int, float, bool]:
    """The step to go on with, how far the stage was, and whether all was there. From another machine there may be no more
    than the module."""
    if not path.is_file():
        return 0, 0.0, True
    state = torch.load(path, weights_only=True, map_location=worker.device)
    for key in parts.keys() & state.keys():
        parts[key].load_state_dict(state[key])
    if "averaged" not in state:
        parts["averaged"].begin()
    worker.wait()  # nobody writes the next one before all have read this one
    return state["step"], state["far"], parts.keys() <= state.keys()


def save(content, path: Path) -> None:
    """A file is there whole or not at all."""
    with atomic_path(path) as part:
        torch.save(content, part)
