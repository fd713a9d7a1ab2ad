"""dev.py: which tests it runs, and what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev_tools import ROOT, make_comfyui

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def suites(dev, monkeypatch):
    """The suites that `test` ran, each as (Python, pytest's arguments, COMFYUI_PATH)."""
    ran = []

    def outcome(suite, output=None):
        arguments = [part for part in suite.arguments if part != dev.suites.PYTEST]
        ran.append((suite.python(), arguments, suite.environ.get("COMFYUI_PATH")))
        return "passed"

    monkeypatch.setattr(dev.suites, "outcome", outcome)
    monkeypatch.setattr(dev.suites, "pack_venv", lambda: "pack python")
    monkeypatch.setattr(dev.suites, "host_venv", lambda comfyui: f"{comfyui.name} python")
    monkeypatch.setattr(dev.suites.os, "cpu_count", lambda: 1)
    return ran


LINT = ("pack python", ["-m", "ruff", "check", "--output-format=concise"], None)


def test_without_comfyui_the_host_tests_are_said_to_be_skipped(dev, suites, capsys):
    assert dev.suites.test(["-x"]) == 0
    assert suites == [("pack python", ["-c", "-x", "--ignore=tests/host", "tests"], None), LINT]
    assert "host tests: skipped: no ComfyUI found; set COMFYUI_PATH" in capsys.readouterr().out


def test_every_comfyui_runs_the_host_tests(dev, suites, home, capsys):
    old, new = make_comfyui(home / "comfy" / "a", "0.3.64"), make_comfyui(home / "comfy" / "b")
    assert dev.suites.test([], pack=False) == 0
    assert sorted(suites) == [
        ("a python", ["-c", "tests/host"], str(old)),
        ("b python", ["-c", "tests/host"], str(new)),
    ]
    assert "pack tests: skipped: not asked for" in capsys.readouterr().out


def test_all_tests_of_the_pack_are_shared_among_the_cores(dev, suites, monkeypatch, capsys):
    tests = dev.common.ROOT / "tests"
    (tests / "host").mkdir(parents=True)
    files = [tests / f"test_{name}.py" for name in "abcde"]
    for file in (*files, tests / "host" / "test_f.py", tests / "conftest.py"):
        file.touch()
    monkeypatch.setattr(dev.suites.os, "cpu_count", lambda: 2)
    assert dev.suites.test([]) == 0
    parts = [arguments[1:] for _, arguments, _ in suites if arguments[0] == "-c"]
    assert sorted(name for part in parts for name in part) == [f"tests/{file.name}" for file in files]
    assert sorted(map(len, parts)) == [1, 1, 1, 2]
    assert "pack tests, part 4 of 4: passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "writes"), [("1", "sys.pycache_prefix and not sys.dont_write_bytecode"), ("", "not sys.pycache_prefix")]
)
def test_bytecode_is_written_elsewhere_where_python_is_told_to_write_none(dev, monkeypatch, told, writes):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", told)
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)  # of the run that this test may be in
    suite = dev.suites.Suite(lambda: sys.executable, ["-c", f"import sys; sys.exit(not ({writes}))"])
    (result,) = dev.suites.run_suites({"starts": suite}).values()
    assert result.startswith("passed")


def test_named_tests_run_alone(dev, suites, home, capsys):
    make_comfyui(home / "comfy" / "a")
    dev.suites.test(["tests/test_dev.py::test_x"])
    assert suites == [("pack python", ["-c", "--ignore=tests/host", "tests/test_dev.py::test_x"], None), LINT]
    assert "host tests: skipped: not asked for" in capsys.readouterr().out
    suites.clear()
    dev.suites.test(["tests/host/test_graph.py"])
    assert [arguments for _, arguments, _ in suites] == [["-c", "tests/host/test_graph.py"]]


@pytest.mark.parametrize("options", [["-k", "tests"], ["--deselect", "tests/host/test_graph.py"]])
def test_the_value_of_an_option_names_no_test(dev, suites, options):
    dev.suites.test(options)
    assert suites[-2][1] == ["-c", *options, "--ignore=tests/host", "tests"]


def test_a_test_may_be_named_after_a_flag(dev, suites):
    dev.suites.test(["-k", "tests", "-x", "tests"])
    assert suites[-2][1] == ["-c", "-k", "tests", "-x", "--ignore=tests/host", "tests"]
    dev.suites.test(["-x", "tests/test_dev.py"])
    assert suites[-2][1] == ["-c", "-x", "--ignore=tests/host", "tests/test_dev.py"]


def test_the_demo_runs_on_the_tiny_model_unless_told_otherwise(dev, monkeypatch):
    commands = []

    def run(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(dev, "pack_venv", lambda: "python")
    monkeypatch.setattr(dev.subprocess, "run", run)
    assert dev.demo(["--models", "mine"]) == 0
    given = [value for option, value in zip(commands[0], commands[0][1:], strict=False) if option == "--models"]
    assert given == ["tiny", "mine"]  # the last one counts


def test_an_old_python_is_told_which_one_is_needed(dev, monkeypatch, capsys):
    monkeypatch.setattr(dev.sys, "version_info", (3, 9, 18, "final", 0))
    assert dev.main() == 1
    assert capsys.readouterr().err == "dev.py: this is Python 3.9.18; run it with Python 3.10 or later.\n"


@pytest.mark.parametrize("version", ["3.8", "3.9"])
def test_dev_runs_on_an_old_python_up_to_that_sentence(version):
    pythons = sorted(Path(os.path.expanduser("~/.pyenv/versions")).glob(f"{version}.*/bin/python"))
    if not pythons:
        pytest.skip(f"no Python {version} here")
    done = subprocess.run([pythons[0], ROOT / "dev.py", "test"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"dev.py: this is Python {version}.") and len(done.stderr.splitlines()) == 1


def test_one_failing_suite_fails_the_run_and_not_the_others(dev, home, monkeypatch, capfd):
    make_comfyui(home / "comfy" / "a")
    make_comfyui(home / "comfy" / "b")

    def host_venv(comfyui):
        if comfyui.name == "a":
            raise dev.common.DevError("no network")
        return sys.executable

    monkeypatch.setattr(dev.suites, "host_venv", host_venv)
    monkeypatch.setattr(dev.suites, "PYTEST", "print('it ran')")
    assert dev.suites.test([], pack=False) == 1
    shown = capfd.readouterr().out
    assert "a: FAILED: no network" in shown and "b: passed" in shown and "it ran" in shown


def test_what_every_suite_prints_is_shown_and_its_failure_counts(dev, capfd):
    suites = {
        name: dev.suites.Suite(
            lambda: sys.executable,
            ["-c", f"import os; print('this is', '{name}', os.environ['MARK']); exit({code})"],
            {"MARK": mark},
        )
        for name, code, mark in (("first", 0, "a"), ("second", 3, "b"), ("third", 0, "c"))
    }
    report = dev.suites.run_suites(suites)
    assert [result.split(" (")[0] for result in report.values()] == ["passed", "FAILED with exit code 3", "passed"]
    shown = capfd.readouterr().out
    assert all(f"this is {name} {mark}" in shown for name, mark in (("first", "a"), ("second", "b"), ("third", "c")))
    assert shown.index("this is second b") < shown.index("this is third c")
