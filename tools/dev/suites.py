"""`dev.py test`: lint, types, the pack's tests, its tests inside ComfyUI, and with --scale those of several machines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from .common import ROOT, DevError, environment, say
from .environments import host_venv, pack_venv, scale_venv
from .hosts import comfyui_version, find_comfyui, version_numbers

# Options of pytest whose next argument may read like a test's path.
VALUED = {
    "-k",
    "-m",
    "-n",
    "-c",
    "-o",
    "-p",
    "-W",
    "--dist",
    "--ignore",
    "--ignore-glob",
    "--deselect",
    "--rootdir",
    "--basetemp",
}

# Not `-m pytest`: that puts this folder on sys.path, where our nodes/ would shadow ComfyUI's nodes.py.
PYTEST = "import sys; sys.path[:] = filter(None, sys.path); import pytest; sys.exit(pytest.main())"


# Of hosts but the newest; pytest's own option would be replaced by this one.
NOT_NEWEST = ["-m", "not network and not newest"]

HOST, SAMPLING, BROWSER, SCALE = "tests/host", "tests/host/sampling", "tests/host/web", "tests/scale"
# These tests ask nothing of ComfyUI, but need timm, which is only where torchvision is: in the newest one's environment.
WITH_TIMM = [
    "tests/face/test_structure.py",
    "tests/standalone/server/test_engine_flux.py",
    "tests/standalone/cli/test_generate_flux.py",
    "tests/standalone/cli/test_generate_sdxl.py",
    "tests/standalone/cli/test_verify.py",
]


class Suite(NamedTuple):
    """`python` makes the environment where it is needed, and gives its Python. One that `may_lack` it is skipped then.

    Packages may be `borrowed` from an environment that is only read.
    """

    python: Callable[[], Path]
    arguments: list[str]
    environ: dict[str, str] = {}
    may_lack: bool = False
    borrowed: bool = False


def outcome(suite: Suite, output: IO[str] | None = None) -> str:
    """Run it in the environment it wants; say how it went."""
    try:
        python = suite.python()
    except DevError as error:
        return f"{'skipped' if suite.may_lack else 'FAILED'}: {error}"
    began = time.monotonic()
    # One thread: the tests' tensors are small, and every core has a process.
    env = environment(suite.borrowed, **{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), **suite.environ})
    code = subprocess.run(
        [python, *suite.arguments], cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT if output else None
    ).returncode
    result = f"FAILED with exit code {code}" if code else "passed"
    return f"{result} ({time.monotonic() - began:.0f} s)"


def run_suites(suites: dict[str, Suite]) -> dict[str, str]:
    """Name -> result. Each suite keeps one core busy but that of the browser, which waits half of its time: so one more than
    there are cores runs at once.

    One is shown as it runs; what the others print follows it, suite by suite.
    """
    report, shown = {}, next(iter(suites), None)
    with contextlib.ExitStack() as files, ThreadPoolExecutor(cores() + 1) as pool:
        outputs = {
            name: files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            for name in suites
            if name != shown
        }
        running = {name: pool.submit(outcome, suite, outputs.get(name)) for name, suite in suites.items()}
        for name, future in running.items():
            say(name)
            report[name] = future.result()
            if name != shown:
                outputs[name].seek(0)
                print(outputs[name].read(), flush=True)
    return report


def cores() -> int:
    return os.cpu_count() or 1


def split_named(options: list[str]) -> tuple[list[str], list[str]]:
    """The options that name tests, and the others."""
    named: list[str] = []
    others: list[str] = []
    for before, option in zip(["", *options], options, strict=False):
        is_path = Path(option).parts[:1] == ("tests",) and before not in VALUED
        (named if is_path else others).append(option)
    return named, others


def shared(workers: int, others: list[str]) -> list[str]:
    """pytest's options for so many workers. Tests of one file stay together, for they share what is made once.

    None where the user chooses tests or options, whose output is then easier to follow.
    """
    return ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"] if workers > 1 and not others else []


def chosen_hosts(comfyuis: list[Path], all_hosts: bool) -> tuple[list[Path], list[Path]]:
    """Those to test in, the newest and the oldest, and those between, which are left out unless `all_hosts`."""
    by_age = sorted(comfyuis, key=lambda path: version_numbers(comfyui_version(path)), reverse=True)
    if all_hosts or len(by_age) < 3:
        return by_age, []
    return [by_age[0], by_age[-1]], by_age[1:-1]


def host_suites(
    comfyui: Path, python: Callable[[], Path], options: list[str], named: list[str], newest: bool, alone: bool
) -> dict[str, Suite]:
    """Tests inside one ComfyUI: those `named`, or all.

    The `newest` runs most: there the browser's are beside the others, and where it isn't `alone` and has one process, those of
    sampling, too, which need no server. In its environment are also the tests that need timm.
    """

    def suite(*arguments: str) -> Suite:
        return Suite(python, ["-c", PYTEST, *options, *arguments], {"COMFYUI_PATH": str(comfyui)}, borrowed=True)

    if named or not newest:
        return {f"host tests in {comfyui}": suite(*(named or [HOST]))}
    apart = [BROWSER] if alone else [BROWSER, SAMPLING]
    timm = Suite(python, ["-c", PYTEST, "-m", "timm and not network", *options, *WITH_TIMM], borrowed=True)
    return {
        f"host tests in {comfyui}": suite(*(f"--ignore={tests}" for tests in apart), HOST),
        **({} if alone else {f"sampling tests in {comfyui}": suite(SAMPLING)}),
        f"browser tests in {comfyui}": suite(BROWSER),
        f"tests with timm beside {comfyui}": timm,
    }


def checks(python: Callable[[], Path], types: bool) -> dict[str, Suite]:
    """Those of the code as it is written. `types` takes the longest, and is left out where the user chooses tests."""
    quick = {
        "lint": Suite(python, ["-m", "ruff", "check", "--output-format=concise"]),
        "format": Suite(python, ["-m", "ruff", "format", "--check"]),
    }
    return {"types": Suite(python, ["-m", "tools.dev.check_types"]), **quick} if types else quick


def test(options: list[str], pack: bool = True, host: bool = True, all_hosts: bool = False) -> int:
    """The summary names every suite, also those that did not run. Options that name tests choose among the suites.

    First what can't be shared among cores without starting ComfyUI once more for each, side by side: ComfyUI's tests and the
    checks. The pack's tests take every core that gets free.
    """
    comfyuis, left_out = chosen_hosts(find_comfyui(), all_hosts) if host else ([], [])
    named, others = split_named(options)
    for_host = [name for name in named if Path(name).parts[:2] == ("tests", "host")]
    for_pack = [name for name in named if name not in for_host]

    pack = pack and bool(for_pack or not named)
    host = host and bool(for_host or not named)
    chosen = [*named, *others]

    with ThreadPoolExecutor() as makers:  # environments are made beside each other, and beside tests that have theirs
        suites: dict[str, Suite] = {}
        for comfyui in comfyuis if host else []:  # the longest first
            workers = shared(cores() // len(comfyuis), chosen)
            some = NOT_NEWEST if left_out_of(comfyui, comfyuis, all_hosts, chosen) else []
            made = makers.submit(host_venv, comfyui).result
            newest, alone = comfyui == comfyuis[0], len(comfyuis) == 1
            suites |= host_suites(comfyui, made, [*workers, *some, *others], for_host, newest, alone)
        if pack:
            python = makers.submit(pack_venv).result
            suites |= checks(python, types=not chosen)
            arguments = ["-c", PYTEST, *shared(cores(), chosen), *others, "--ignore=tests/host", *(for_pack or ["tests"])]
            suites["pack tests"] = Suite(python, arguments)
        report = run_suites(suites)

    report |= not_run(pack, host, comfyuis, left_out)
    for comfyui in comfyuis if host else []:
        if left_out_of(comfyui, comfyuis, all_hosts, chosen):
            why = "skipped: they ask nothing of ComfyUI's version and run in the newest; --all-hosts runs them here, too"
            report[f"host tests marked `newest` in {comfyui}"] = why
    print()
    for suite, result in report.items():
        say(f"{suite}: {result}")
    return int(any(result.startswith("FAILED") for result in report.values()))


def test_scale(options: list[str]) -> int:
    """The tests of several fronts and machines, alone: what they need is an environment of its own, and they keep all cores
    busy. Each of them waits a good deal of its time, so one more than there are cores runs at once. They are skipped where the
    environment can't be made."""
    named, others = split_named(options)
    arguments = ["-c", PYTEST, *shared(cores() + 1, options), *others, *(named or [SCALE])]
    suites = {"scale tests": Suite(scale_venv, arguments, may_lack=True)}
    report = run_suites(suites)
    for suite, result in report.items():
        say(f"{suite}: {result}")
    return int(any(result.startswith("FAILED") for result in report.values()))


def left_out_of(comfyui: Path, comfyuis: list[Path], all_hosts: bool, chosen: list[str]) -> bool:
    """Whether this ComfyUI is spared the tests that are marked `newest`; one that the user chooses tests for isn't."""
    return comfyui != comfyuis[0] and not all_hosts and not chosen


def not_run(pack: bool, host: bool, comfyuis: list[Path], left_out: list[Path]) -> dict[str, str]:
    """What is left out, and why."""
    report: dict[str, str] = {}
    if not pack:
        report["pack tests"] = "skipped: not asked for"
    if not host:
        report["host tests"] = "skipped: not asked for"
    elif not comfyuis:
        report["host tests"] = "skipped: no ComfyUI found; set COMFYUI_PATH to a checkout of it"
    for path in left_out if host else []:
        report[f"host tests in {path}"] = "skipped: only the oldest and the newest run; --all-hosts runs those between, too"
    return report
