"""`dev.py test`: lint, the pack's tests, and its tests inside every ComfyUI found."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .common import ROOT, DevError, say
from .environments import host_venv, pack_venv
from .hosts import find_comfyui

# Options of pytest whose next argument may read like a test's path.
VALUED = {"-k", "-m", "-c", "-o", "-p", "-W", "--ignore", "--ignore-glob", "--deselect", "--rootdir", "--basetemp"}

# Not `-m pytest`: that puts this folder on sys.path, where our nodes/ would shadow ComfyUI's nodes.py.
PYTEST = "import sys; sys.path[:] = filter(None, sys.path); import pytest; sys.exit(pytest.main())"


class Suite(NamedTuple):
    """`python` makes the environment where it is needed, and gives its Python."""

    python: Callable[[], Path]
    arguments: list[str]
    environ: dict[str, str] = {}


def outcome(suite: Suite, output=None) -> str:
    """Run it in the environment it wants; say how it went."""
    try:
        python = suite.python()
    except DevError as error:
        return f"FAILED: {error}"
    began = time.monotonic()
    # One thread: the tests' tensors are small, and threads that wait for a busy core by spinning take minutes, not seconds.
    env = {"OMP_NUM_THREADS": "1", **os.environ, **suite.environ}
    code = subprocess.run(
        [python, *suite.arguments], cwd=ROOT, env=env, stdout=output, stderr=output and subprocess.STDOUT
    ).returncode
    result = f"FAILED with exit code {code}" if code else "passed"
    return f"{result} ({time.monotonic() - began:.0f} s)"


def bytecode(folder: str) -> dict[str, str]:
    """Variables for the suites. Where Python is told to write no bytecode, as in many containers, each of their many processes
    would compile torch again, for 12 seconds; theirs is written into this folder.
    """
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder} if os.environ.get("PYTHONDONTWRITEBYTECODE") else {}


def run_suites(suites: dict[str, Suite]) -> dict[str, str]:
    """Name -> result. Each suite keeps one core busy, so as many run at once as there are cores.

    One is shown as it runs; what the others print follows it, suite by suite.
    """
    report, shown = {}, next(iter(suites), None)
    with contextlib.ExitStack() as files, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        outputs = {
            name: files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            for name in suites
            if name != shown
        }
        environ = bytecode(files.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        running = {
            name: pool.submit(outcome, suite._replace(environ={**environ, **suite.environ}), outputs.get(name))
            for name, suite in suites.items()
        }
        for name, future in running.items():
            say(name)
            report[name] = future.result()
            if name != shown:
                outputs[name].seek(0)
                print(outputs[name].read(), flush=True)
    return report


def split_named(options: list[str]) -> tuple[list[str], list[str]]:
    """The options that name tests, and the others."""
    named, others = [], []
    for before, option in zip(["", *options], options, strict=False):
        is_path = Path(option).parts[:1] == ("tests",) and before not in VALUED
        (named if is_path else others).append(option)
    return named, others


def shares(number: int) -> list[list[str]]:
    """The pack's test files in `number` parts of about the same size, the largest first."""
    files = sorted((ROOT / "tests").glob("test_*.py"), key=lambda path: path.stat().st_size, reverse=True)
    return [[f"tests/{path.name}" for path in files[i::number]] for i in range(min(number, len(files)))]


def pack_suites(python: Callable[[], Path], named: list[str], others: list[str]) -> dict[str, Suite]:
    """Lint and the pack's tests; the latter, when all are to run, in parts: two per core, as some take longer than others."""
    lint = {"lint": Suite(python, ["-m", "ruff", "check", "--output-format=concise"])}
    pytest = ["-c", PYTEST, *others]
    if named or others:
        return {"pack tests": Suite(python, [*pytest, "--ignore=tests/host", *(named or ["tests"])]), **lint}
    parts = shares(2 * (os.cpu_count() or 1))
    names = [f"pack tests, part {i} of {len(parts)}" for i in range(1, len(parts) + 1)]
    return {**{name: Suite(python, [*pytest, *part]) for name, part in zip(names, parts, strict=True)}, **lint}


def test(options: list[str], pack: bool = True, host: bool = True) -> int:
    """The summary names every suite, also those that did not run. Options that name tests choose among the suites."""
    comfyuis = find_comfyui() if host else []
    named, others = split_named(options)
    for_host = [name for name in named if Path(name).parts[:2] == ("tests", "host")]
    for_pack = [name for name in named if name not in for_host]

    pack = pack and (for_pack or not named)
    host = host and (for_host or not named)

    with ThreadPoolExecutor() as makers:  # environments are made beside each other, and beside tests that have theirs
        suites = {}
        for comfyui in comfyuis if host else []:  # the longest first
            arguments = ["-c", PYTEST, *others, *(for_host or ["tests/host"])]
            environment = makers.submit(host_venv, comfyui)
            suites[f"host tests in {comfyui}"] = Suite(environment.result, arguments, {"COMFYUI_PATH": str(comfyui)})
        if pack:
            suites |= pack_suites(makers.submit(pack_venv).result, for_pack, others)
        report = run_suites(suites)

    if not pack:
        report["pack tests"] = "skipped: not asked for"
    if not host:
        report["host tests"] = "skipped: not asked for"
    elif not comfyuis:
        report["host tests"] = "skipped: no ComfyUI found; set COMFYUI_PATH to a checkout of it"

    print()
    for suite, result in report.items():
        say(f"{suite}: {result}")
    return int(any(result.startswith("FAILED") for result in report.values()))
