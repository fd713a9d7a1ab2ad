"""A stage of the tiny model's training: stopped, limited in time, and shared by two processes."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from facegen.errors import FaceGenError
from facegen.tools.tiny_model import run, steps, worker
from facegen.tools.tiny_model.worker import Box, Worker, train


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def loss_of(module, stop_at=None):
    """Batches of torch's chance; fails instead of beginning its `stop_at`-th step."""
    begun = 0

    def loss(_):
        nonlocal begun
        begun += 1
        if begun == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(6, 4)
        return (module(x) - x.sum(dim=1, keepdim=True)).square().mean()

    return loss


def test_a_stopped_stage_goes_on_as_if_it_had_not_been_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "SAVE_EVERY", 0)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    wanted = Worker(whole, 0).build(network)
    train(Worker(whole, 0), "stage", wanted, loss_of(wanted), 20, 1e-2)
    for stop_at in (5, 9):  # the second time, it has gone on from the first
        module = Worker(broken, 0).build(network)
        with pytest.raises(KeyboardInterrupt):
            train(Worker(broken, 0), "stage", module, loss_of(module, stop_at), 20, 1e-2)
    assert torch.load(broken / "stage.unfinished.pt", weights_only=True)["step"] == 12
    module = Worker(broken, 0).build(network)
    train(Worker(broken, 0), "stage", module, loss_of(module, 20 - 12 + 1), 20, 1e-2)
    start = Worker(whole, 0).build(network).state_dict()
    for key, tensor in wanted.state_dict().items():
        assert torch.equal(module.state_dict()[key], tensor) and not torch.equal(start[key], tensor), key
    assert not module.training and [path.name for path in broken.iterdir()] == ["stage.pt"]


def test_a_stage_stops_when_its_time_is_over_and_keeps_what_was_done(tmp_path, monkeypatch):
    """A second run has the rest of the stage to do, and as much time."""
    now = [100.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(worker, "SAVE_EVERY", 0)
    box = Box(end=200.0, shares={"before": 0.5, "stage": 0.25, "after": 0.25})
    assert box.seconds("before") == 50 and box.seconds("stage") == 50 and box.seconds("after") == 100
    taken = []

    def run(stop_at=None):
        limited = Worker(tmp_path, 0, box=box)
        module = limited.build(network)
        wanted = loss_of(module, stop_at)

        def loss(far):
            now[0] += 5
            value = wanted(far)
            taken.append(far.item())
            return value

        train(limited, "stage", module, loss, 10**6, 1e-2)

    with pytest.raises(KeyboardInterrupt):
        run(stop_at=6)
    assert taken == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    now[0], done = 100.0, len(taken)
    run()
    assert taken[done:] == pytest.approx([0.5 + 0.05 * n for n in range(10)]) and (tmp_path / "stage.pt").is_file()


def test_parameters_end_as_their_running_mean(tmp_path):
    limited = Worker(tmp_path, 0)
    plain, mean = limited.build(lambda: nn.Linear(4, 1)), limited.build(lambda: nn.Linear(4, 1))
    train(limited, "plain", plain, loss_of(plain), 40, 1e-1)
    seen = []
    train(limited, "mean", mean, loss_of(mean), 40, 1e-1, keep=0.9, often=(-1.0, lambda: seen.append(mean.weight.clone())))
    off = [(module.weight - 1).abs().max().item() for module in (plain, mean)]
    assert off[0] != off[1] and torch.equal(seen[-1], mean.weight) and not torch.equal(seen[0], seen[-1])


SHARING = """
    import sys
    from pathlib import Path

    sys.path[:0] = [{support!r}]
    from pack import load_pack

    load_pack()
    import numpy as np
    import torch
    from facegen.tools.tiny_model.worker import Box, Worker, train

    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    worker = Worker(folder, 0, rank, 2)
    worker.join()
    module = worker.build(lambda: torch.nn.Linear(4, 1))

    def loss(far):
        x = torch.randn(6, 4)
        return (module(x) - x.sum(dim=1, keepdim=True)).square().mean()

    train(worker, "stage", module, loss, 10, 1e-2)
    torch.save(module.state_dict(), folder / f"end.{{rank}}")
"""


def test_two_processes_that_share_a_batch_end_alike(tmp_path):
    """And as one does that has the whole batch."""
    script = tmp_path / "share.py"
    script.write_text(textwrap.dedent(SHARING.format(support=str(Path(__file__).parents[1] / "support"))), encoding="utf-8")
    env = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})
    processes = [subprocess.Popen([sys.executable, script, tmp_path, str(rank)], env=env) for rank in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    ends = [torch.load(tmp_path / f"end.{rank}", weights_only=True) for rank in range(2)]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])

    alone = Worker(tmp_path / "alone", 0)
    alone.folder.mkdir()
    module, step = alone.build(lambda: nn.Linear(4, 1)), -1
    start = {key: tensor.clone() for key, tensor in module.state_dict().items()}

    def loss(_):
        nonlocal step
        step += 1
        parts = []
        for rank in range(2):
            Worker(tmp_path, 0, rank, 2).chance("stage", step)
            parts.append(torch.randn(6, 4))
        x = torch.cat(parts)
        return (module(x) - x.sum(dim=1, keepdim=True)).square().mean()

    train(alone, "stage", module, loss, 10, 1e-2)
    for key, tensor in module.state_dict().items():
        assert torch.allclose(ends[0][key], tensor, atol=1e-5) and not torch.allclose(start[key], tensor, atol=1e-3)


FAILING = """
    import sys, time

    role, rank = sys.argv[-1].split("=")
    sys.exit(0) if role == "--draw" else sys.exit(3) if rank == "1" else time.sleep(600)
"""


def test_one_process_that_fails_ends_the_others(tmp_path, monkeypatch):
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "__main__.py").write_text(textwrap.dedent(FAILING))
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(run, "HERE", pack)
    monkeypatch.setattr(run.subprocess, "Popen", Noted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    began = time.monotonic()
    with pytest.raises(FaceGenError, match="Training process 1 of 3 ended with code 3"):
        run.train_tiny(run.Options(tmp_path / "work", tmp_path / "out", processes=3, people=2))
    assert time.monotonic() - began < 300 and len(started) == 6  # three that draw, three that train
    assert [process.returncode is None for process in started] == [False] * 6
    assert not (tmp_path / "out").exists()


def test_a_recorded_step_s_pace_leaves_out_what_came_before(monkeypatch):
    """Also within the eight steps after which it is looked at."""
    now = [0.0]
    monkeypatch.setattr(steps.time, "monotonic", lambda: now[0])

    def passes(seconds):
        now[0] += seconds
        return torch.zeros((), requires_grad=True) * 1

    class Replayed:
        def replay(self):
            passes(2.0)

    def record(step):
        passes(50.0)
        step.graph = Replayed()

    monkeypatch.setattr(steps.Step, "_record", record)
    step = steps.Step(
        Worker(Path(), 0, recorded=True), "stage", [torch.zeros(1, requires_grad=True)], lambda _: passes(6.0), 1e-2
    )
    for _ in range(24):
        step.take(0.5, 1.0)
    assert step.pace[True] == [2.0, 2.0, 2.0]
