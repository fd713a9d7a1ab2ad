"""Training in one or several processes that share each batch; every stage goes on where it was stopped."""

import datetime
import math
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...atomic_write import atomic_path

SAVE_EVERY = 120  # seconds
SAY_EVERY = 50  # steps
PATIENCE = datetime.timedelta(minutes=30)  # for the slowest part that one process does alone
WARM_UP = 0.03  # of the steps
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Worker:
    """One of `world` processes. `folder` holds what is finished and the checkpoints of what isn't."""

    folder: Path
    seed: int
    rank: int = 0
    world: int = 1
    device: torch.device = CPU

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

    def random(self, stage: str, step: int = 0) -> np.random.Generator:
        """Chance of this process alone, and the same whenever the step is done again."""
        return np.random.default_rng([self.seed, zlib.crc32(stage.encode()), step, self.rank])

    def build(self, make: Callable[[], nn.Module]) -> nn.Module:
        """A network with the same random weights in every process and every run."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return make().to(self.device)

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, mean in zip(tensors, flat.div_(self.world).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def train(
    worker: Worker, name: str, module: nn.Module, loss: Callable[[np.random.Generator], Tensor], steps: int, rate: float
) -> None:
    """Fit the parameters of `module` that want gradients to `loss`, and leave it in evaluation mode.

    `loss` draws its batch from the generator it is given. AdamW; the rate rises over WARM_UP, then falls to 0 as a cosine.
    """
    final, unfinished = worker.folder / f"{name}.pt", worker.folder / f"{name}.unfinished.pt"
    if final.is_file():
        module.load_state_dict(torch.load(final, weights_only=True, map_location=worker.device))
        module.eval()
        return
    wanted = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    parts = {"module": module, "optimizer": optimizer, "schedule": schedule}
    first = _resume(unfinished, parts, worker)
    module.train()
    began = said = saved = time.monotonic()
    seen: list[float] = []
    for step in range(first, steps):
        optimizer.zero_grad()
        value = loss(worker.random(name, step))
        value.backward()
        worker.average([p.grad for p in wanted if p.grad is not None])
        nn.utils.clip_grad_norm_(wanted, 1.0)
        optimizer.step()
        schedule.step()
        seen.append(value.item())
        if (step + 1) % SAY_EVERY == 0:
            pace = (time.monotonic() - said) / len(seen)
            rest = datetime.timedelta(seconds=round(pace * (steps - step - 1)))
            worker.say(f"{name}: step {step + 1} of {steps}, loss {np.mean(seen):.4f}, {pace:.2f} s a step, {rest} to go")
            said, seen = time.monotonic(), []
        if worker.rank == 0 and time.monotonic() - saved > SAVE_EVERY:
            save({"step": step + 1} | {key: part.state_dict() for key, part in parts.items()}, unfinished)
            saved = time.monotonic()
    worker.average([b for b in module.buffers() if b.is_floating_point()])  # batch norm's statistics
    if worker.rank == 0:
        save(module.state_dict(), final)
        unfinished.unlink(missing_ok=True)
    worker.wait()
    module.eval()
    worker.say(f"{name}: done in {time.monotonic() - began:.0f} s")


def _rate(step: int, steps: int) -> float:
    rise = max(1, round(WARM_UP * steps))
    return (step + 1) / rise if step < rise else 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1, steps - rise))


def _resume(path: Path, parts: dict, worker: Worker) -> int:
    """The step to go on with."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True, map_location=worker.device)
    for key, part in parts.items():
        part.load_state_dict(state[key])
    worker.wait()  # nobody writes the next one before all have read this one
    return state["step"]


def save(content, path: Path) -> None:
    """A file is there whole or not at all."""
    with atomic_path(path) as part:
        torch.save(content, part)
