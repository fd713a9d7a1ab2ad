"""A training of the tiny model that goes on on another machine, from what the first one left in its results."""

import json

import pytest
import torch
from torch import nn

from facegen.errors import FaceGenError
from facegen.models import tiny_files
from facegen.models.tiny_files import TINY
from facegen.tools.tiny_model import checkpoints, run, shares, worker
from facegen.tools.tiny_model.data import Drawings
from facegen.tools.tiny_model.export import parts
from facegen.tools.tiny_model.language import save_tokenizer
from facegen.tools.tiny_model.networks import SIDE
from facegen.tools.tiny_model.recipe import SHARES, SMALLEST, Plan, stages_until, train_all
from facegen.tools.tiny_model.worker import Box, Reached, Worker, train

SEED = 5
PLAN = Plan(2, recogniser=1, clip_vision=1, finder=1, autoencoder=1, decoder=1, batches=SMALLEST)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def fresh(folder):
    """A work folder with nothing but drawings."""
    save_tokenizer(folder / "tokenizer")
    shares.create(folder / "drawings", PLAN.people)
    shares.draw_share(folder / "drawings", folder / "tokenizer", SEED, "drawings", 0, 1)
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The work and the results of a machine that went until the recogniser."""
    work, results = fresh(tmp_path_factory.mktemp("first")), tmp_path_factory.mktemp("results")
    begun = Worker(work, SEED, until="recogniser", keep=lambda: checkpoints.pack(work, results))
    with pytest.raises(Reached, match="recogniser was to be the last stage"):
        train_all(begun, PLAN)
    return work, results


def tensors(content):
    if isinstance(content, dict | list):
        values = content.values() if isinstance(content, dict) else content
        return [tensor for value in values for tensor in tensors(value)]
    return [content] if isinstance(content, torch.Tensor) else []


def test_a_run_goes_until_the_stage_that_was_asked_for(first):
    assert {path.name for path in first[0].glob("*.pt")} == {"plan.pt", "autoencoder.pt", "decoder.pt", "recogniser.pt"}
    assert [path.name for path in first[1].iterdir()] == ["checkpoints.0"]


def test_another_machine_goes_on_with_what_was_finished(first, tmp_path, monkeypatch):
    work, results = first
    other = fresh(tmp_path / "other")
    assert checkpoints.unpack(results, other) == ["autoencoder.pt", "decoder.pt", "plan.pt", "recogniser.pt"]
    for name in ("autoencoder.pt", "recogniser.pt"):
        was, now = (torch.load(folder / name, weights_only=True) for folder in (work, other))
        assert was.keys() == now.keys()
        for key, tensor in was.items():
            assert now[key].dtype == tensor.dtype and torch.allclose(now[key], tensor, rtol=1e-3, atol=1e-6), key
    for key in shares.ARRAYS:  # the same people, drawn anew
        one, two = (Drawings(Worker(folder, SEED), "drawings").tensors[key] for folder in (work, other))
        assert torch.equal(one, two), key

    trained = []
    monkeypatch.setattr(worker, "_run", lambda worker, step, *_: trained.append(step.name))
    with pytest.raises(Reached, match="finder"):
        train_all(Worker(other, SEED, until="finder"), PLAN)
    assert trained == ["clip_vision", "finder"]
    for seed, plan in ((SEED + 1, PLAN), (SEED, Plan())):
        with pytest.raises(ValueError, match="a training of another seed or plan"):
            train_all(Worker(other, seed), plan)


def test_an_unfinished_stage_goes_on_with_its_steps_and_its_optimizer(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "SAVE_EVERY", 0)
    here, there, results = (tmp_path / name for name in ("here", "there", "results"))
    here.mkdir()

    def go_on(folder, stop_at=None):
        """The module and its `far` at each step."""
        own = Worker(folder, 0, keep=lambda: checkpoints.pack(folder, results))
        module, taken = own.build(lambda: nn.Linear(4, 1)), []

        def loss(far):
            if far.item() == stop_at:
                raise KeyboardInterrupt
            taken.append(far.item())
            x = torch.randn(6, 4)
            return (module(x) - x.sum(dim=1, keepdim=True)).square().mean()

        train(own, "stage", module, loss, 20, 1e-2, keep=0.9)
        return module, taken

    with pytest.raises(KeyboardInterrupt):
        go_on(here, stop_at=0.5)
    before = torch.load(here / "stage.unfinished.pt", weights_only=True)
    assert checkpoints.unpack(results, there) == ["stage.unfinished.pt"]
    after = torch.load(there / "stage.unfinished.pt", weights_only=True)
    assert after["step"] == before["step"] == 10
    for part, share in (("module", 1e-3), ("averaged", 1e-3), ("optimizer", 1e-2)):
        pairs = list(zip(tensors(before[part]), tensors(after[part]), strict=True))
        assert len(pairs) >= 2 and all(torch.allclose(one, two, rtol=share, atol=1e-7) for one, two in pairs), part
    counts = [state["step"].item() for state in after["optimizer"]["state"].values()]
    assert counts == [10, 10]
    (whole, _), (carried, taken) = go_on(here), go_on(there)
    assert taken[0] == 0.5 and len(taken) == 10
    assert torch.allclose(whole.weight, carried.weight, atol=1e-2) and [path.name for path in there.iterdir()] == ["stage.pt"]


def test_what_is_unfinished_goes_without_its_optimizer_where_room_lacks(tmp_path, monkeypatch):
    """And begins anew with it, and with a mean that begins at the weights."""
    module = nn.Linear(300, 300)
    own = Worker(tmp_path / "here", 0)
    step = worker.Step(own, "stage", list(module.parameters()), lambda _: module(torch.ones(1, 300)).sum(), 1e-2)
    step.take(0.5, 1.0)
    parts_of = {"module": module, "optimizer": step.optimizer, "averaged": worker.Averaged(list(module.parameters()), 0.9)}
    unfinished = {"step": 7, "far": 0.5} | {key: part.state_dict() for key, part in parts_of.items()}
    (tmp_path / "here").mkdir()
    worker.save(unfinished, tmp_path / "here" / "stage.unfinished.pt")
    worker.save(module.state_dict(), tmp_path / "here" / "other.pt")
    sizes = []
    for room in (10**7, 1):
        monkeypatch.setattr(checkpoints, "ROOM", room)
        checkpoints.pack(tmp_path / "here", tmp_path / "results")
        sizes.append((tmp_path / "results" / "checkpoints.0").stat().st_size)
    assert sizes[0] > 2.9 * sizes[1] and sizes[1] < 1.2 * 2 * 300 * 300  # the module is there twice, and packed once
    checkpoints.unpack(tmp_path / "results", tmp_path / "there")
    found = torch.load(tmp_path / "there" / "stage.unfinished.pt", weights_only=True)
    assert found.keys() == {"step", "far", "module"} and found["step"] == 7

    other = nn.Linear(300, 300)
    fresh_ones = {
        "module": other,
        "optimizer": torch.optim.AdamW(other.parameters()),
        "averaged": worker.Averaged(list(other.parameters()), 0.9),
    }
    assert worker._resume(tmp_path / "there" / "stage.unfinished.pt", fresh_ones, own) == (7, 0.5, False)
    assert torch.allclose(other.weight, module.weight, atol=1e-3) and not fresh_ones["optimizer"].state
    assert torch.equal(fresh_ones["averaged"].mean[0], other.weight)


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_the_rate_rises_again_where_the_optimizer_is_missing(tmp_path, monkeypatch, with_optimizer):
    """Its first steps would else be as large as the rate, whatever the gradients are."""
    monkeypatch.setattr(worker, "ANEW", 5)
    module, own = nn.Linear(4, 1), Worker(tmp_path, 0)
    optimizer = torch.optim.AdamW(module.parameters())
    averaged = worker.Averaged(list(module.parameters()), 0.0)
    state = {"step": 10, "far": 0.5, "module": module.state_dict()}
    if with_optimizer:
        state |= {"optimizer": optimizer.state_dict(), "averaged": averaged.state_dict()}
    worker.save(state, tmp_path / "stage.unfinished.pt")
    rates, take = [], worker.Step.take

    def noted(step, far, share):
        take(step, far, share)
        rates.append(step.optimizer.param_groups[0]["lr"] / (share * step.rate))

    monkeypatch.setattr(worker.Step, "take", noted)
    train(own, "stage", module, lambda _: module(torch.ones(1, 4)).square().mean(), 20, 1e-2)
    assert rates == pytest.approx([1.0] * 10 if with_optimizer else [0.2, 0.4, 0.6, 0.8] + [1.0] * 6)


def test_a_training_that_was_begun_here_is_left_alone(first, tmp_path):
    (tmp_path / "plan.pt").touch()
    assert checkpoints.unpack(first[1], tmp_path) == [] and [path.name for path in tmp_path.iterdir()] == ["plan.pt"]


def test_parts_that_are_not_whole_are_refused(first, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MOST", 1_000_000)
    results = tmp_path / "results"
    checkpoints.pack(first[0], results)
    names = sorted(path.name for path in results.iterdir())
    assert names == [f"checkpoints.{n}" for n in range(len(names))] and len(names) > 3
    last = results / names[-1]
    content = last.read_bytes()
    for spoilt in (content[:-1], b"\0" * len(content)):
        last.write_bytes(spoilt)
        with pytest.raises(FaceGenError, match="are cut off or mixed"):
            checkpoints.unpack(results, tmp_path / "work")
    last.unlink()
    with pytest.raises(FaceGenError, match="are cut off or mixed"):
        checkpoints.unpack(results, tmp_path / "work")
    (results / names[1]).unlink()
    with pytest.raises(FaceGenError, match=r"lacks checkpoints\.1\."):
        checkpoints.unpack(results, tmp_path / "work")
    with pytest.raises(FaceGenError, match=r"lacks checkpoints\.0\."):
        checkpoints.unpack(tmp_path, tmp_path / "work")
    checkpoints.pack(first[0], results)
    parts.write_parts(results, checkpoints.NAME, b"short")
    assert [path.name for path in results.iterdir()] == ["checkpoints.0"]


def test_a_number_that_half_precision_cannot_hold_stays_as_it_is(tmp_path):
    tiny = {"optimizer": {"tiny": torch.tensor([1e-12, 1.0])}}
    large = {
        "large": torch.tensor([1e6, 1.0]),
        "count": torch.tensor(2049.0),
        "whole": torch.arange(3),
    }
    worker.save(large | tiny, tmp_path / "large.pt")
    checkpoints.pack(tmp_path, tmp_path / "results")
    checkpoints.unpack(tmp_path / "results", tmp_path / "work")
    found = torch.load(tmp_path / "work" / "large.pt", weights_only=True)
    assert all(torch.equal(found[key], tensor) for key, tensor in large.items())
    assert found["optimizer"]["tiny"][0] == pytest.approx(1e-12, rel=0.01)


# --- a limited time ---------------------------------------------------------------------------------------------------


def test_the_stages_until_one_share_all_the_time():
    assert list(stages_until("recogniser")) == ["autoencoder", "decoder", "recogniser"] and stages_until(None) == SHARES
    box = Box(worker.time.monotonic() + 100, stages_until("recogniser"))
    assert box.seconds("recogniser") == pytest.approx(100, abs=1)


def test_stages_that_were_done_elsewhere_take_no_time(tmp_path):
    for name in ("autoencoder", "recogniser"):
        (tmp_path / f"{name}.pt").touch()
    options = run.Options(tmp_path, tmp_path / "out", minutes=10, until="clip_vision")
    assert list(run._worker(options, 0, 1, worker.time.monotonic()).box.shares) == ["decoder", "clip_vision"]


def test_who_isn_t_drawn_is_waited_for_where_there_is_time(tmp_path, monkeypatch):
    """After stages that were done elsewhere there would be nobody yet."""
    shares.create(tmp_path / "drawings", 3)
    now = [0.0]

    def sleep(seconds):
        now[0] += 1
        with open(tmp_path / "drawings" / "drawn.0.txt", "a", encoding="utf-8") as lines:
            lines.write(f"{int(now[0]) - 1}\n")

    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(worker.time, "sleep", sleep)
    for drawn_by, ready in ((0.0, 0), (2.0, 2), (100.0, 3)):
        drawings = Drawings(Worker(tmp_path, 0, box=Box(200.0, SHARES, drawn_by)), "drawings")
        drawings.settle()
        assert drawings.ready == ready and (tmp_path / "drawings" / shares.ENOUGH).is_file()


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_stage_that_there_isn_t_is_answered_with_those_that_there_are(tmp_path, capsys):
    assert run.main(["--work", str(tmp_path), "--out", str(tmp_path), "--until", "unet"]) == 2
    assert capsys.readouterr().err == (
        f"train-tiny: There is no stage 'unet' for --until; the stages are {', '.join(SHARES)}.\n"
    )


def test_what_is_asked_for_reaches_the_processes(tmp_path):
    options = run.Options(
        tmp_path / "w", tmp_path / "o", seed=3, results=tmp_path / "r", until="tokens", carried=tmp_path / "c"
    )
    assert {"--until=tokens", f"--results={tmp_path / 'r'}", "--seed=3"} <= set(options.arguments())
    assert not any("carried" in argument for argument in options.arguments())  # unpacked once, before they start


def test_a_model_of_another_edition_is_not_judged(tmp_path, capsys):
    """Those of the first edition make 128x128 pixels, and know people who were drawn otherwise."""
    work, first = tmp_path / "work", tmp_path / "first"
    assert run.main(["--work", str(work), "--out", str(first), "--evaluate"]) == 2
    assert f"There is no tiny model in {first}" in capsys.readouterr().err
    shipped = json.loads((TINY / tiny_files.UNET_CONFIG).read_text(encoding="utf-8"))
    assert 8 * shipped["sample_size"] == SIDE, "the shipped model is this edition's"
    (first / tiny_files.UNET_CONFIG).parent.mkdir(parents=True)
    (first / tiny_files.UNET_CONFIG).write_text(json.dumps({**shipped, "sample_size": 16}), encoding="utf-8")
    assert run.main(["--work", str(work), "--out", str(first), "--evaluate"]) == 2
    said = capsys.readouterr().err
    assert f"makes pictures of 128x128 pixels, but this trainer's make {SIDE}x{SIDE}" in said and "README.md" in said
    assert not work.exists()
