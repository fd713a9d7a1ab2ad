"""dev.py: which tests it runs, and what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev_tools import make_comfyui
from pack import ROOT

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
    monkeypatch.setattr(dev.suites, "cores", lambda: 1)
    return ran


CHECKS = [
    ("pack python", ["-m", "ruff", "check", "--output-format=concise"], None),
    ("pack python", ["-m", "ruff", "format", "--check"], None),
]
TYPES = ("pack python", ["-m", "tools.dev.check_types"], None)
SHARED = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
NOT_NEWEST = ["-m", "not network and not newest"]


def in_order(suites):
    return sorted(suites, key=str)


def in_comfyui(dev, folder, *options, newest=True, alone=False):
    """What runs inside the ComfyUI in this folder when no tests are chosen."""
    most = ["--ignore=tests/host/web", "--ignore=tests/host/sampling", "tests/host"]
    apart = [["--ignore=tests/host/web", "tests/host"]] if alone else [most, ["tests/host/sampling"]]
    python = f"{folder.name} python"
    kinds = [*apart, ["tests/host/web"]] if newest else [["tests/host"]]
    ran = [(python, ["-c", *options, *tests], str(folder)) for tests in kinds]
    timm = (python, ["-c", "-m", "timm and not network", *options, *dev.suites.WITH_TIMM], None)
    return [*ran, timm] if newest else ran


def test_without_comfyui_the_host_tests_are_said_to_be_skipped(dev, suites, capsys):
    assert dev.suites.test(["-x"]) == 0
    assert suites == [*CHECKS, ("pack python", ["-c", "-x", "--ignore=tests/host", "tests"], None)]
    assert "host tests: skipped: no ComfyUI found; set COMFYUI_PATH" in capsys.readouterr().out


def test_the_tests_of_several_fronts_run_alone_in_their_own_environment(dev, suites, monkeypatch):
    monkeypatch.setattr(dev.suites, "scale_venv", lambda: "scale python")
    assert dev.suites.test_scale(["-x"]) == 0
    assert dev.suites.test_scale(["tests/scale/test_fronts.py"]) == 0
    assert dev.suites.test_scale([]) == 0
    assert [suite[:2] for suite in suites] == [
        ("scale python", ["-c", "-x", "tests/scale"]),
        ("scale python", ["-c", "tests/scale/test_fronts.py"]),
        ("scale python", ["-c", *SHARED, "tests/scale"]),
    ]


def test_they_are_skipped_where_their_environment_can_t_be_made(dev, capsys, monkeypatch):
    def cannot():
        raise dev.common.DevError("pip could not install what .venv-scale needs")

    monkeypatch.setattr(dev.suites, "scale_venv", cannot)
    assert dev.suites.test_scale([]) == 0 and "scale tests: skipped: pip could not install" in capsys.readouterr().out


def test_every_comfyui_runs_the_host_tests(dev, suites, home, capsys):
    old, new = make_comfyui(home / "comfy" / "a", "0.3.64"), make_comfyui(home / "comfy" / "b")
    assert dev.suites.test([], pack=False) == 0
    assert in_order(suites) == in_order([*in_comfyui(dev, old, *NOT_NEWEST, newest=False), *in_comfyui(dev, new)])
    shown = capsys.readouterr().out
    assert "pack tests: skipped: not asked for" in shown
    assert f"host tests marked `newest` in {old}: skipped: they ask nothing of ComfyUI's version" in shown


@pytest.mark.parametrize(("options", "more"), [([], {"all_hosts": True}), (["-x"], {}), (["tests/host/server"], {})])
def test_all_hosts_and_chosen_tests_leave_nothing_out(dev, suites, home, capsys, options, more):
    for name, version in (("a", "0.3.64"), ("b", "0.8.0")):
        make_comfyui(home / "comfy" / name, version)
    assert dev.suites.test(options, pack=False, **more) == 0
    assert {path for _, _, path in suites if path} == {str(home / "comfy" / name) for name in "ab"}
    assert not [arguments for _, arguments, path in suites if "-m" in arguments and path]
    assert "newest" not in capsys.readouterr().out


def test_only_the_oldest_and_the_newest_comfyui_run_unless_all_are_asked_for(dev, suites, home, capsys):
    versions = ("0.3.9", "0.10.1", "0.9.0", "0.3.64")
    made = {version: make_comfyui(home / "comfy" / f"v{version}", version) for version in versions}
    assert dev.suites.test([], pack=False) == 0
    assert list(dict.fromkeys(path for _, _, path in suites if path)) == [str(made["0.10.1"]), str(made["0.3.9"])]
    shown = capsys.readouterr().out
    for version in ("0.9.0", "0.3.64"):
        assert f"host tests in {made[version]}: skipped: only the oldest and the newest run; --all-hosts runs" in shown
    suites.clear()
    assert dev.suites.test([], pack=False, all_hosts=True) == 0
    newest_first = [str(made[version]) for version in ("0.10.1", "0.9.0", "0.3.64", "0.3.9")]
    assert list(dict.fromkeys(path for _, _, path in suites if path)) == newest_first
    assert "host tests: " not in capsys.readouterr().out


def test_what_needs_timm_is_where_it_is_asked_for(dev):
    """Each file that has tests which need timm is run in the newest ComfyUI's environment for these."""
    asking = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.timm" in path.read_text("utf-8")]
    assert {path.relative_to(ROOT).as_posix() for path in asking} - {"tests/tools/test_dev.py"} == set(dev.suites.WITH_TIMM)


def test_all_cores_share_the_tests(dev, suites, home, monkeypatch, capsys):
    """ComfyUIs get a core each, and what is left over; the pack's tests come last, with a process for each core."""
    old = make_comfyui(home / "comfy" / "a", "0.3.64")
    monkeypatch.setattr(dev.suites, "cores", lambda: 2)
    assert dev.suites.test([]) == 0
    of_pack = ("pack python", ["-c", *SHARED, "--ignore=tests/host", "tests"], None)
    assert in_order(suites) == in_order([*in_comfyui(dev, old, *SHARED, alone=True), *CHECKS, TYPES, of_pack])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("-- ")][-1] == "-- pack tests: passed"
    new = make_comfyui(home / "comfy" / "b")
    suites.clear()
    assert dev.suites.test([], pack=False) == 0
    assert in_order(suites) == in_order([*in_comfyui(dev, old, *NOT_NEWEST, newest=False), *in_comfyui(dev, new)])


def test_chosen_tests_are_not_shared(dev, suites, monkeypatch):
    monkeypatch.setattr(dev.suites, "cores", lambda: 2)
    dev.suites.test(["tests/test_dev.py"])
    dev.suites.test(["-x"])
    assert not [arguments for _, arguments, _ in suites if "-n" in arguments]


@pytest.mark.parametrize(
    ("told", "borrowed", "writes"),
    [
        ("1", False, "not sys.pycache_prefix and not sys.dont_write_bytecode"),
        ("1", True, "sys.pycache_prefix and not sys.dont_write_bytecode"),
        ("", True, "not sys.pycache_prefix"),
    ],
)
def test_bytecode_is_written_though_python_is_told_to_write_none(dev, monkeypatch, told, borrowed, writes):
    """Elsewhere, where packages are another's."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", told)
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)  # of the run that this test may be in
    suite = dev.suites.Suite(lambda: sys.executable, ["-c", f"import sys; sys.exit(not ({writes}))"], borrowed=borrowed)
    (result,) = dev.suites.run_suites({"starts": suite}).values()
    assert result.startswith("passed")


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": "3"}], ids=["unset", "the user's"])
def test_processes_wait_without_spinning_unless_the_user_says_otherwise(dev, monkeypatch, own):
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    given = dev.common.environment(MORE="1")
    assert given["OMP_WAIT_POLICY"] == own.get("OMP_WAIT_POLICY", "PASSIVE") and given["MORE"] == "1"
    wanted = own.get("OMP_NUM_THREADS", "1")
    suite = dev.suites.Suite(
        lambda: sys.executable, ["-c", f"import os, sys; sys.exit(os.environ['OMP_NUM_THREADS'] != {wanted!r})"]
    )
    (result,) = dev.suites.run_suites({"starts": suite}).values()
    assert result.startswith("passed")


def test_types_are_checked_through_a_link_of_a_name_that_can_be_imported(dev, monkeypatch):
    from tools.dev import check_types

    seen = []

    def run(command, cwd):
        seen.append((command, Path(cwd, "facegen").resolve()))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(check_types.subprocess, "run", run)
    assert check_types.main() == 3
    ((command, place),) = seen
    assert place == check_types.ROOT.resolve() and place.is_dir() and not (place / "facegen").exists()
    named = {part.rpartition("facegen.")[2] for part in map(str, command) if "=facegen." in part}
    assert named == {"contract", "errors", "atomic_write", "adoption", "models", "api", "comfyui", "nodes", "standalone"}


def test_named_tests_run_alone(dev, suites, home, capsys):
    make_comfyui(home / "comfy" / "a")
    dev.suites.test(["tests/test_dev.py::test_x"])
    assert suites == [*CHECKS, ("pack python", ["-c", "--ignore=tests/host", "tests/test_dev.py::test_x"], None)]
    assert "host tests: skipped: not asked for" in capsys.readouterr().out
    suites.clear()
    dev.suites.test(["tests/host/test_graph.py"])
    assert [arguments for _, arguments, _ in suites] == [["-c", "tests/host/test_graph.py"]]


@pytest.mark.parametrize("options", [["-k", "tests"], ["--deselect", "tests/host/test_graph.py"]])
def test_the_value_of_an_option_names_no_test(dev, suites, options):
    dev.suites.test(options)
    assert suites[-1][1] == ["-c", *options, "--ignore=tests/host", "tests"]


def test_a_test_may_be_named_after_a_flag(dev, suites):
    dev.suites.test(["-k", "tests", "-x", "tests"])
    assert suites[-1][1] == ["-c", "-k", "tests", "-x", "--ignore=tests/host", "tests"]
    dev.suites.test(["-x", "tests/test_dev.py"])
    assert suites[-1][1] == ["-c", "-x", "--ignore=tests/host", "tests/test_dev.py"]


def test_the_demo_runs_on_the_tiny_model_unless_told_otherwise(dev, monkeypatch):
    commands = []

    def run(command, env):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(dev, "pack_venv", lambda: "python")
    monkeypatch.setattr(dev.subprocess, "run", run)
    assert dev.demo(["--models", "mine"]) == 0
    given = [value for option, value in zip(commands[0], commands[0][1:], strict=False) if option == "--models"]
    assert given == ["tiny", "mine"]  # the last one counts


def test_train_tiny_starts_the_training_with_its_options(dev, monkeypatch):
    """In the folder of tools that the training's own tests know, and with its exit code."""
    commands = []

    def run(command, env):
        commands.append((command, env))
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(dev, "pack_venv", lambda: "python")
    monkeypatch.setattr(dev.subprocess, "run", run)
    monkeypatch.setattr(dev.sys, "argv", ["dev.py", "train-tiny", "--work", "w", "--out", "o", "--seed", "3"])
    assert dev.main() == 7
    ((command, env),) = commands
    assert command == ["python", dev.common.ROOT / "tools" / "tiny_model", "--work", "w", "--out", "o", "--seed", "3"]
    assert env["OMP_WAIT_POLICY"]


def test_the_training_s_own_door_says_what_it_takes():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "tiny_model", "--help"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "--work" in done.stdout and "--evaluate" in done.stdout, done.stderr


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
