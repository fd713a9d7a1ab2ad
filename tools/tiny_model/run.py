"""`dev.py train-tiny`: the tiny model's files from a seed."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import FaceGenError

HERE = Path(__file__).resolve().parent
UNSEEN = 64  # people who are drawn for the evaluation alone
TAIL = 0.1, 40.0  # of a limited time what is kept for files, sheets and figures: a share, and at most so many seconds
DRAWING = 0.25  # of a limited time: so long, drawings are waited for where the stages that go without were done elsewhere
TRIAL_PEOPLE, TRIAL_STEPS = 320, 32  # on a CPU it is 2 steps


@dataclass(frozen=True)
class Options:
    """As the command line has them; see main."""

    work: Path
    out: Path
    seed: int = 0
    processes: int = 1
    people: int | None = None
    minutes: float | None = None
    results: Path | None = None
    recorded: bool = True
    smoke: bool = False
    until: str | None = None
    carried: Path | None = None

    def arguments(self) -> list[str]:
        given = [f"--{name}={getattr(self, name)}" for name in ("work", "out", "seed", "processes")]
        some = ("people", "minutes", "results", "until")
        given += [f"--{name}={getattr(self, name)}" for name in some if getattr(self, name) is not None]
        return given + ["--step-by-step"] * (not self.recorded) + ["--smoke"] * self.smoke


def train_tiny(options: Options) -> None:
    """Train in options.work (resumed if it was begun, there or in options.carried), then write the model's folder to
    options.out, unless options.until comes before.

    Raises FaceGenError when a process fails; what was finished stays in options.work.
    """
    import torch

    if options.processes < 1:
        raise FaceGenError(f"train-tiny needs at least one process, got --processes {options.processes}.")
    _prepare(options)
    workers = 1 if torch.cuda.is_available() or options.minutes else options.processes
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    drawing = _start(options, "--draw", options.processes, env)
    if not (options.minutes or options.smoke):
        _watch(drawing, "Drawing")
    # Two that train and spin for each other lose ten times.
    training = _start(options, "--rank", workers, env if workers > 1 else None)
    _watch(training, "Training", drawing)


def _prepare(options: Options) -> None:
    from . import shares
    from .checkpoints import unpack
    from .language import save_tokenizer
    from .recipe import SHARES, Plan

    if options.until not in (None, *SHARES):
        raise FaceGenError(f"There is no stage {options.until!r} for --until; the stages are {', '.join(SHARES)}.")
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / "meeting").unlink(missing_ok=True)
    (options.work / "drawings" / shares.ENOUGH).unlink(missing_ok=True)
    save_tokenizer(options.work / "tokenizer")
    if options.carried:
        found = unpack(options.carried, options.work)
        sys.stderr.write(f"carried: {', '.join(found) or f'nothing, as {options.work} holds a training'}\n")
    people = options.people or (TRIAL_PEOPLE if options.smoke else Plan().people)
    shares.create(options.work / "unseen", min(UNSEEN, people))
    shares.create(options.work / "drawings", people)


def _start(options: Options, role: str, count: int, env: dict | None) -> list[subprocess.Popen]:
    command = [sys.executable, str(HERE), *options.arguments()]
    return [subprocess.Popen([*command, f"{role}={rank}"], env=env) for rank in range(count)]


def _watch(processes: Sequence[subprocess.Popen], what: str, others: Sequence[subprocess.Popen] = ()) -> None:
    """Until all have ended. One that fails, also of the others, ends them all."""
    everyone = [*processes, *others]
    try:
        while any(process.poll() is None for process in processes) and not any(process.poll() for process in everyone):
            time.sleep(0.2)
    finally:
        codes = [process.poll() for process in everyone]
        for process in everyone:
            process.terminate()
            process.wait()
    if any(codes):
        first = next(rank for rank, code in enumerate(codes) if code)
        name, rank = (what, first) if first < len(processes) else ("Drawing", first - len(processes))
        raise FaceGenError(f"{name} process {rank} of {len(processes)} ended with code {codes[first]}; its words are above.")


def draw_rank(options: Options, rank: int) -> None:
    """What one of the processes draws."""
    from .shares import draw_share

    for name in ("unseen", "drawings"):
        draw_share(options.work / name, options.work / "tokenizer", options.seed, name, rank, options.processes)


def train_rank(options: Options, rank: int) -> None:
    """What one of the processes trains."""
    from .recipe import ON_A_GPU, SMALLEST, Batches, Plan, train_all
    from .shares import people_in
    from .worker import Reached

    began = time.monotonic()
    import torch

    cuda = torch.cuda.is_available()
    world = 1 if cuda or options.minutes else options.processes
    if world > 1:
        torch.set_num_threads(1)
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    worker = _worker(options, rank, world, began)
    worker.join()
    importlib.import_module("diffusers.pipelines.stable_diffusion")  # takes seconds, while the first people are drawn
    plan = Plan(
        people=people_in(options.work / "drawings"), batches=ON_A_GPU if cuda else SMALLEST if options.smoke else Batches()
    )
    try:
        trained = train_all(worker, plan, often=lambda now: _deliver(options, now, worker) if rank == 0 else None)
    except Reached as end:
        worker.say(f"{end}.")
    else:
        if rank == 0:
            _finish(options, trained, worker)
    worker.wait()


def _worker(options: Options, rank: int, world: int, began: float):
    """began: time.monotonic() when a limited time begins."""
    import torch

    from .checkpoints import pack
    from .recipe import stages_until
    from .worker import Box, Worker

    cuda, results = torch.cuda.is_available(), options.results
    seconds, box = 60 * (options.minutes or 0), None
    if seconds and not options.smoke:
        end = began + seconds - min(TAIL[0] * seconds, TAIL[1])
        left = {
            name: share for name, share in stages_until(options.until).items() if not (options.work / f"{name}.pt").is_file()
        }
        box = Box(end, left, drawn_by=began + DRAWING * seconds)
    return Worker(
        options.work,
        options.seed,
        rank,
        world,
        torch.device("cuda" if cuda else "cpu"),
        box,
        recorded=options.recorded and cuda,
        trial=(TRIAL_STEPS if cuda else 2) if options.smoke else 0,
        until=options.until,
        keep=(lambda: pack(options.work, results)) if results else lambda: None,
    )


def _deliver(options: Options, trained, worker) -> None:
    """The model's folder, and, where results are wanted, the same in parts."""
    from .export.files import export
    from .export.parts import save_parts

    began = time.monotonic()
    export(trained, options.out)
    if options.results:
        save_parts(options.out, options.results)
    worker.say(f"the model is in {options.out} ({time.monotonic() - began:.0f} s)")


def _finish(options: Options, trained, worker) -> None:
    from .checkpoints import NAME
    from .export.parts import write_parts

    _deliver(options, trained, worker)
    if not options.results:
        return
    write_parts(options.results, NAME, b"")  # the checkpoints, which the model makes needless
    from .data import Drawings
    from .evaluation.evaluate import evaluate
    from .evaluation.sampling import NetworkPortraits
    from .evaluation.sheets import save_sheets

    unseen = Drawings(worker, "unseen")
    portraits = NetworkPortraits(worker, trained, unseen)
    full = worker.device.type == "cuda" and not options.smoke
    portraits.steps = portraits.steps if full else 2
    save_sheets(portraits, options.results, 25 if full else 2)
    people = unseen.ready if full else 2
    figures = evaluate(portraits, unseen, trained.judge, people, worker.say)
    (options.results / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(options: Options) -> dict:
    """The figures of the model in options.out, by the engine. The judge is that of the training in options.work.

    Raises FaceGenError when the model is of an earlier edition: it knows people who were drawn in another way.
    """
    from .data import Drawings
    from .evaluation.evaluate import EnginePortraits, evaluate
    from .judge import train_judge
    from .recipe import Plan
    from .worker import Worker

    _same_edition(options.out)
    worker = Worker(options.work, options.seed)
    judge = train_judge(worker, Drawings(worker, "drawings"), Plan().judge)
    unseen = Drawings(worker, "unseen")
    portraits = EnginePortraits(options.out, unseen)
    figures = evaluate(portraits, unseen, judge, unseen.ready, worker.say)
    return {**figures, "seconds_per_picture": round(portraits.seconds / portraits.drawn, 2)}


def _same_edition(models: Path) -> None:
    """By the size of the pictures, which is one of each edition."""
    from ...models.tiny_files import UNET_CONFIG
    from .networks import SIDE

    config = models / UNET_CONFIG
    if not config.is_file():
        raise FaceGenError(f"There is no tiny model in {models}: {config} is missing.")
    size = 8 * json.loads(config.read_text(encoding="utf-8"))["sample_size"]
    if size != SIDE:
        raise FaceGenError(
            f"The model in {models} makes pictures of {size}x{size} pixels, but this trainer's make {SIDE}x{SIDE}: another "
            "edition of the trainer made it, from other drawings, so people drawn by this one say nothing about it. "
            "Measure it with the edition that made it; the model's README.md says which that is."
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train-tiny", description="Train the pack's tiny model from a seed.")
    parser.add_argument("--work", type=Path, required=True, help="Folder for drawings and checkpoints, about 8 GB.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the model's files.")
    parser.add_argument("--seed", type=int, default=0, help="Default: 0.")
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        help="How many draw, and without a GPU train. Default: one per core.",
    )
    parser.add_argument("--people", type=int, help="How many are drawn. Default: the recipe's.")
    parser.add_argument("--minutes", type=float, help="Train so long, all in all. Default: as many steps as the recipe says.")
    parser.add_argument(
        "--results", type=Path, help="Folder for the model and checkpoints in parts, contact sheets and figures."
    )
    parser.add_argument("--until", metavar="STAGE", help="Stop after this stage; a wrong name is answered with all.")
    parser.add_argument(
        "--carried",
        type=Path,
        metavar="FOLDER",
        help="Go on with the checkpoints that a run on another machine left in its --results. --seed, --people and the kind of "
        "device have to be the same; the people are drawn anew.",
    )
    parser.add_argument(
        "--step-by-step", action="store_false", dest="recorded", help="On a GPU: don't record and replay steps."
    )
    parser.add_argument("--smoke", action="store_true", help="A few steps of every stage, to see what a step costs.")
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="Train nothing: measure the model in OUT, if this edition of the trainer made it, as JSON.",
    )
    for role in ("--rank", "--draw"):
        parser.add_argument(role, type=int, help=argparse.SUPPRESS)
    try:
        _run(parser.parse_args(arguments))
    except FaceGenError as error:
        sys.stderr.write(f"train-tiny: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("train-tiny: stopped\n")
        return 130
    return 0


def _run(given: argparse.Namespace) -> None:
    options = Options(**{name: getattr(given, name) for name in Options.__dataclass_fields__})
    if given.evaluate:
        sys.stdout.write(json.dumps(measure(options), indent=1) + "\n")
    elif given.draw is not None:
        draw_rank(options, given.draw)
    elif given.rank is not None:
        train_rank(options, given.rank)
    else:
        train_tiny(options)
