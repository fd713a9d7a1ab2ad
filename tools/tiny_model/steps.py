"""One step of training: as it is, or, on a GPU, recorded once and replayed without Python (CUDA graphs)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import torch
from torch import Tensor, nn

BEFORE = 4  # steps that are taken before one is recorded
AHEAD = 8  # steps that may be asked for before the first of them is done: else the clock would run ahead of the GPU


@cache
def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()


@contextmanager
def on_a_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, a stream of its own: steps on the default one can't be recorded afterwards."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize()
    with torch.cuda.stream(_stream()):
        yield
    torch.cuda.synchronize()


class Around(Protocol):
    """What a step needs of its Worker."""

    @property
    def device(self) -> torch.device: ...

    @property
    def recorded(self) -> bool: ...

    @property
    def trial(self) -> int: ...

    def say(self, text: str) -> None: ...

    def average(self, tensors: list[Tensor]) -> None: ...


class Step:
    """Takes steps of AdamW, gradients clipped to a norm of 1."""

    def __init__(self, worker: Around, name: str, wanted: list[Tensor], loss: Callable[[Tensor], Tensor], rate: float):
        self.worker, self.name, self.wanted, self.loss, self.rate = worker, name, wanted, loss, rate
        gpu = worker.device.type == "cuda"
        first = torch.tensor(rate, device=worker.device) if gpu else rate  # a recorded step reads the rate from memory
        self.optimizer = torch.optim.AdamW(wanted, first, betas=(0.9, 0.99), weight_decay=0.01, fused=True, capturable=gpu)
        self.far, self.total = (torch.zeros((), device=worker.device) for _ in range(2))
        self.graph: torch.cuda.CUDAGraph | None = None
        self.taken = self.counted = 0
        self.rise = 1  # steps in which the rate rises, besides what take is told
        self.pace: dict[bool, list[float]] = {False: [], True: []}  # seconds a step, recorded or not
        self.since = time.monotonic(), 0  # and how many had been taken then

    def take(self, far: float, share: float) -> None:
        """far: how far the stage is; share: of the rate."""
        share *= min(1.0, (self.taken + 1) / self.rise)
        self.far.fill_(far)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(share * self.rate)
            else:
                group["lr"] = share * self.rate
        if self.worker.recorded and self.taken == max(BEFORE, self.worker.trial // 2):
            self._try_to_record()
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()
        self.taken += 1
        self.counted += 1
        if self.taken % AHEAD == 0:
            self._measure()

    def _measure(self) -> None:
        if self.worker.device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        began, before = self.since
        self.since = time.monotonic(), self.taken
        self.pace[self.graph is not None].append((self.since[0] - began) / (self.taken - before))

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        value = self.loss(self.far)
        value.backward()
        self.worker.average([p.grad for p in self.wanted if p.grad is not None])
        nn.utils.clip_grad_norm_(self.wanted, 1.0)
        self.optimizer.step()
        self.total.add_(value.detach())

    def _try_to_record(self) -> None:
        """Whoever tries what a step costs wants to see every stage, also after one that can't be recorded."""
        try:
            self._record()
            self.since = time.monotonic(), self.taken
        except RuntimeError as error:
            if not self.worker.trial:
                raise
            self.worker.say(f"{self.name}: CAN'T BE RECORDED: {error}")

    def _record(self) -> None:
        torch.cuda.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            self._step()
        self.graph = graph

    def summary(self) -> str:
        """Mean loss since the last one, and what a step takes. Raises RuntimeError when the loss is no number."""
        mean = self.total.item() / max(1, self.counted)
        if mean != mean:
            raise RuntimeError(f"{self.name}: the loss is no number any more.")
        self.total.zero_()
        self.counted = 0
        paces = [f"{min(p) * 1000:.1f} ms{' recorded' if recorded else ''}" for recorded, p in self.pace.items() if p]
        memory = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if self.worker.device.type == "cuda" else ""
        return f"loss {mean:.4f}, {' / '.join(paces) or 'few'} a step{memory}"

    def forget(self) -> None:
        """Frees what a recorded step holds."""
        self.graph = None
        self.optimizer.zero_grad(set_to_none=True)
        if self.worker.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
