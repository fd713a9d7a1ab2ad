"""`dev.py train-tiny`: the tiny model's files from a seed."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ...errors import FaceGenError

HERE = Path(__file__).resolve().parent


def train_tiny(work: Path, out: Path, seed: int, processes: int) -> None:
    """Train in `work` (resumed if it was begun) with so many processes, then write the model's folder to `out`.

    Raises FaceGenError when a process fails; what was finished stays in `work`.
    """
    import torch

    if processes < 1:
        raise FaceGenError(f"train-tiny needs at least one process, got --processes {processes}.")
    work.mkdir(parents=True, exist_ok=True)
    (work / "meeting").unlink(missing_ok=True)
    processes = 1 if torch.cuda.is_available() else processes
    command = [sys.executable, HERE, "--work", work, "--out", out, "--seed", seed, "--processes", processes]
    env = {**os.environ, "OMP_NUM_THREADS": "1"} if processes > 1 else None  # two that spin for each other lose ten times
    running = [subprocess.Popen([*map(str, command), "--rank", str(rank)], env=env) for rank in range(processes)]
    try:
        while any(process.poll() is None for process in running):
            if any(process.poll() for process in running):
                break
            time.sleep(0.5)
    finally:
        codes = [process.poll() for process in running]
        for process in running:
            process.terminate()
            process.wait()
    if any(codes):
        first = next(rank for rank, code in enumerate(codes) if code)
        raise FaceGenError(f"Training process {first} of {processes} ended with code {codes[first]}; its words are above.")


def run_rank(work: Path, out: Path, seed: int, rank: int, processes: int) -> None:
    """What one of the processes does."""
    import torch

    from .export.files import export
    from .recipe import Plan, train_all
    from .worker import Worker

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if processes > 1:
        torch.set_num_threads(1)
    worker = Worker(work, seed, rank, processes, device)
    worker.join()
    trained = train_all(worker, Plan())
    if rank == 0:
        export(trained, out)
        worker.say(f"the model is in {out}")
    worker.wait()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train-tiny", description="Train the pack's tiny model from a seed.")
    parser.add_argument("--work", type=Path, required=True, help="Folder for drawings and checkpoints, about 4 GB.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the model's files.")
    parser.add_argument("--seed", type=int, default=0, help="Default: 0.")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="How many share each batch. Default: one per core."
    )
    parser.add_argument("--evaluate", action="store_true", help="Train nothing: measure the model in OUT, as JSON.")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    try:
        _run(parser.parse_args(arguments))
    except FaceGenError as error:
        sys.stderr.write(f"train-tiny: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("train-tiny: stopped\n")
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.evaluate:
        from .evaluate import evaluate

        figures = evaluate(options.out, options.work, options.seed, say=lambda text: sys.stderr.write(f"{text}\n"))
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    elif options.rank is None:
        train_tiny(options.work, options.out, options.seed, options.processes)
    else:
        run_rank(options.work, options.out, options.seed, options.rank, options.processes)
