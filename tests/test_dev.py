"""dev.py, without installing: which ComfyUI it finds, when it makes an environment anew, which tests it runs."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load_dev(path):
    spec = importlib.util.spec_from_file_location("facegen_dev", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_comfyui(path, version="0.8.0"):
    (path / "comfy").mkdir(parents=True)
    (path / "custom_nodes").mkdir()
    (path / "main.py").touch()
    (path / "requirements.txt").write_text("torch\n")
    (path / "comfyui_version.py").write_text(f'# generated\n__version__ = "{version}"\n')
    return path


def place_pack(folder):
    folder.mkdir(parents=True)
    return Path(shutil.copy(ROOT / "dev.py", folder))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.delenv("PWD", raising=False)
    return home


@pytest.fixture
def dev(tmp_path):
    """dev.py in a folder of its own, beside requirement files."""
    module = load_dev(place_pack(tmp_path / "pack"))
    for path in (module.PACK_REQUIREMENTS, module.HOST_REQUIREMENTS, module.DEV_REQUIREMENTS):
        path.write_text("numpy\n")
    return module


# Finding ComfyUI


def test_no_comfyui_is_found_on_a_fresh_machine(dev):
    assert dev.find_comfyui() == []


def test_comfyui_path_names_one_or_several_checkouts_and_wins(dev, tmp_path, home, monkeypatch):
    make_comfyui(home / "comfy" / "ComfyUI")
    old, new = make_comfyui(tmp_path / "old", "0.3.64"), make_comfyui(tmp_path / "new")
    monkeypatch.setenv("COMFYUI_PATH", os.pathsep.join(map(str, (old, new, old))))
    assert dev.find_comfyui() == [old, new]
    assert [dev.comfyui_version(path) for path in (old, new)] == ["0.3.64", "0.8.0"]


@pytest.mark.parametrize("missing", ["main.py", "comfyui_version.py"])
def test_a_wrong_comfyui_path_is_an_error_that_names_it(dev, tmp_path, monkeypatch, missing):
    path = make_comfyui(tmp_path / "elsewhere")
    (path / missing).unlink()
    monkeypatch.setenv("COMFYUI_PATH", str(path))
    with pytest.raises(dev.DevError, match=re.escape(f"COMFYUI_PATH: {path} is no ComfyUI")):
        dev.find_comfyui()


def test_pack_inside_custom_nodes(tmp_path, home):
    make_comfyui(home / "comfy" / "ComfyUI")
    comfyui = make_comfyui(tmp_path / "mine")
    dev = load_dev(place_pack(comfyui / "custom_nodes" / "ComfyUI-FaceGen"))
    assert dev.find_comfyui() == [comfyui]
    assert dev.has_pack(comfyui)


@pytest.mark.parametrize("from_shell", [False, True])
def test_pack_linked_into_custom_nodes(tmp_path, monkeypatch, from_shell):
    """By the path that Python was given, or, as `cd` follows the link, by the shell's idea of where it is."""
    comfyui = make_comfyui(tmp_path / "mine")
    real = place_pack(tmp_path / "pack")
    link = comfyui / "custom_nodes" / "facegen"
    link.symlink_to(real.parent, target_is_directory=True)
    if from_shell:
        monkeypatch.setenv("PWD", str(link))
    dev = load_dev(real if from_shell else link / "dev.py")
    assert real.parent == dev.ROOT
    assert dev.find_comfyui() == [comfyui]
    assert dev.has_pack(comfyui)


def test_custom_nodes_itself_is_a_link(tmp_path):
    comfyui = make_comfyui(tmp_path / "mine")
    place_pack(tmp_path / "shared" / "facegen")
    (comfyui / "custom_nodes").rmdir()
    (comfyui / "custom_nodes").symlink_to(tmp_path / "shared", target_is_directory=True)
    assert load_dev(comfyui / "custom_nodes" / "facegen" / "dev.py").find_comfyui() == [comfyui]


@pytest.mark.parametrize("parent", ["comfy", "Documents/comfy"])
def test_comfy_cli_default_workspace_and_its_neighbours(dev, home, parent):
    first, second = make_comfyui(home / parent / "ComfyUI"), make_comfyui(home / parent / "ComfyUI-0.3.64", "0.3.64")
    (home / parent / "models").mkdir()
    assert dev.find_comfyui() == [first, second]
    assert not dev.has_pack(first)


@pytest.mark.parametrize("folder", [".config", "Library/Application Support", "AppData/Local"])
def test_comfy_cli_configured_workspace_comes_first(dev, tmp_path, home, folder):
    default, chosen = make_comfyui(home / "comfy" / "ComfyUI"), make_comfyui(tmp_path / "100% mine")
    config = home / folder / "comfy-cli" / "config.ini"
    config.parent.mkdir(parents=True)
    config.write_text(f"[DEFAULT]\nenable_tracking = False\ndefault_workspace = {chosen}\n")
    assert dev.find_comfyui() == [chosen, default]
    config.write_text("not an ini file")
    assert dev.find_comfyui() == [default]


# Environments


class Installer:
    """Stands in for the commands that make a venv and fill it."""

    def __init__(self, dev, monkeypatch):
        self.dev, self.ran, self.error = dev, [], None
        monkeypatch.setattr(dev, "quietly", self)
        monkeypatch.setattr(dev, "usable", Path.is_file)

    def __call__(self, command, failure):
        command = [str(part) for part in command]
        if "venv" in command:
            self.ran.append("venv")
            venv = Path(command[-1])
            shutil.rmtree(venv, ignore_errors=True)
            python = self.dev.venv_python(venv)
            python.parent.mkdir(parents=True)
            python.touch()
        elif "pip" in command:
            self.ran.append("pip")
            self.pip = command
            if self.error:
                raise self.dev.DevError(self.error)
        else:  # where are your packages?
            return f"{Path(command[0]).parent}\n"

    def took(self):
        ran, self.ran = self.ran, []
        return ran


@pytest.fixture
def installer(dev, monkeypatch):
    return Installer(dev, monkeypatch)


def test_venv_is_made_once_and_updated_when_requirements_change(dev, installer):
    python = dev.pack_venv()
    assert python == dev.venv_python(dev.ROOT / ".venv")
    assert installer.took() == ["venv", "pip"]
    assert installer.pip.count("-r") == 3
    assert dev.pack_venv() == python
    assert installer.took() == []
    dev.DEV_REQUIREMENTS.write_text("numpy\ntqdm\n")
    dev.pack_venv()
    assert installer.took() == ["pip"]


def test_half_built_venv_is_made_anew(dev, installer):
    installer.error = "no network"
    with pytest.raises(dev.DevError, match="no network"):
        dev.pack_venv()
    installer.error = None
    installer.took()
    dev.pack_venv()
    assert installer.took() == ["venv", "pip"]


def test_failed_update_is_made_anew(dev, installer):
    dev.pack_venv()
    dev.PACK_REQUIREMENTS.write_text("nonsense\n")
    installer.error = "no such package"
    with pytest.raises(dev.DevError):
        dev.pack_venv()
    installer.error = None
    dev.PACK_REQUIREMENTS.write_text("numpy\n")
    installer.took()
    dev.pack_venv()
    assert installer.took() == ["venv", "pip"]


def test_venv_with_a_broken_python_is_made_anew(dev, installer):
    dev.pack_venv().unlink()
    installer.took()
    dev.pack_venv()
    assert installer.took() == ["venv", "pip"]


def test_overlay_keeps_the_torch_of_its_host(dev, installer):
    venv = dev.ROOT / ".venv-host-0.8.0"
    host = {"pins": {"torch": "2.11.0+cu130", "torchvision": "0.26.0"}, "site": ["/comfy/site-packages"]}
    python = dev.ensure_venv(venv, "python", [dev.PACK_REQUIREMENTS], host)
    assert installer.took() == ["venv", "pip"]
    constraints = Path(installer.pip[installer.pip.index("-c") + 1])
    assert constraints.read_text() == "torch==2.11.0+cu130\ntorchvision==0.26.0\n"
    assert (python.parent / "comfyui.pth").read_text() == "/comfy/site-packages\n"
    dev.ensure_venv(venv, "python", [dev.PACK_REQUIREMENTS], host)
    assert installer.took() == []
    host["pins"]["torch"] = "2.12.0"
    dev.ensure_venv(venv, "python", [dev.PACK_REQUIREMENTS], host)
    assert installer.took() == ["venv", "pip"]


def test_borrowed_packages_come_after_the_own_ones(dev, tmp_path):
    venv, borrowed = tmp_path / "venv", tmp_path / "host" / "site-packages"
    borrowed.mkdir(parents=True)
    (borrowed / "facegen_borrowed.py").touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    dev.borrow(dev.venv_python(venv), [str(borrowed)])
    show = "import sys, sysconfig, facegen_borrowed; print(sysconfig.get_path('purelib'), *sys.path, sep='\\n')"
    own, *path = dev.quietly([dev.venv_python(venv), "-c", show], "no").splitlines()
    assert path.index(own) < path.index(str(borrowed))


@pytest.mark.parametrize("env", [".venv", "venv", None])
def test_own_python_of_a_checkout(dev, tmp_path, env):
    comfyui = make_comfyui(tmp_path / "ComfyUI")
    assert dev.own_python(comfyui) is None
    python = dev.venv_python(comfyui / env) if env else tmp_path / "python_embeded" / "python.exe"
    python.parent.mkdir(parents=True)
    python.touch()
    assert dev.own_python(comfyui) == python


def test_checkout_without_an_environment_gets_its_requirements_in_the_overlay(dev, tmp_path, monkeypatch):
    comfyui = make_comfyui(tmp_path / "ComfyUI", "0.3.64")
    monkeypatch.setattr(dev, "ensure_venv", lambda *args: args)
    venv, maker, requirements, host = dev.host_venv(comfyui)
    assert venv == dev.ROOT / ".venv-host-0.3.64"
    assert maker == Path(sys.executable)
    assert requirements == [comfyui / "requirements.txt", dev.PACK_REQUIREMENTS, dev.HOST_REQUIREMENTS]
    assert host["python"] == "{}.{}".format(*sys.version_info[:2])
    assert host["makes_venvs"]


def test_python_that_makes_no_venv_is_replaced_by_one_of_its_version(dev, tmp_path, monkeypatch):
    """The embedded Python of the Windows portable build."""
    comfyui = make_comfyui(tmp_path / "ComfyUI")
    embedded = tmp_path / "python_embeded" / "python.exe"
    embedded.parent.mkdir()
    embedded.touch()
    host = {"python": "{}.{}".format(*sys.version_info[:2]), "pins": {"torch": "2.8.0"}, "makes_venvs": False}
    monkeypatch.setattr(dev, "quietly", lambda *_: json.dumps(host))
    monkeypatch.setattr(dev, "ensure_venv", lambda *args: args)
    _, maker, requirements, _ = dev.host_venv(comfyui)
    assert maker == Path(sys.executable)
    assert requirements == [dev.PACK_REQUIREMENTS, dev.HOST_REQUIREMENTS]
    host["python"] = "3.99"
    with pytest.raises(dev.DevError, match=r"run dev.py with a Python 3\.99"):
        dev.host_venv(comfyui)


def test_failure_shows_the_last_lines(dev):
    script = "import sys; print(*range(50), sep='\\n'); sys.exit(3)"
    with pytest.raises(dev.DevError, match=r"(?s)^pip failed\. .*\n49$"):
        dev.quietly([sys.executable, "-c", script], "pip failed")
    with pytest.raises(dev.DevError, match=r"no Python: .*nowhere"):
        dev.quietly([Path("nowhere/python")], "no Python")


# Commands


@pytest.fixture
def suites(dev, monkeypatch):
    """The suites that `test` ran, each as (Python, pytest's arguments, COMFYUI_PATH)."""
    ran = []

    def outcome(python, arguments, output=None, **environ):
        ran.append((python, [part for part in arguments if part != dev.PYTEST], environ.get("COMFYUI_PATH")))
        return "passed"

    monkeypatch.setattr(dev, "outcome", outcome)
    monkeypatch.setattr(dev, "pack_venv", lambda: "pack python")
    monkeypatch.setattr(dev, "host_venv", lambda comfyui: f"{comfyui.name} python")
    return ran


def test_without_comfyui_the_host_tests_are_said_to_be_skipped(dev, suites, capsys):
    assert dev.test(["-x"]) == 0
    assert suites == [
        ("pack python", ["-m", "ruff", "check", "--output-format=concise"], None),
        ("pack python", ["-c", "-x", "--ignore=tests/host", "tests"], None),
    ]
    assert "host tests: skipped: no ComfyUI found; set COMFYUI_PATH" in capsys.readouterr().out


def test_every_comfyui_runs_the_host_tests(dev, suites, home):
    old, new = make_comfyui(home / "comfy" / "a", "0.3.64"), make_comfyui(home / "comfy" / "b")
    assert dev.test([], pack=False) == 0
    assert sorted(suites) == [
        ("a python", ["-c", "tests/host"], str(old)),
        ("b python", ["-c", "tests/host"], str(new)),
    ]


def test_named_tests_run_alone(dev, suites, home, capsys):
    make_comfyui(home / "comfy" / "a")
    dev.test(["tests/test_dev.py::test_x"])
    assert suites == [
        ("pack python", ["-m", "ruff", "check", "--output-format=concise"], None),
        ("pack python", ["-c", "--ignore=tests/host", "tests/test_dev.py::test_x"], None),
    ]
    assert "host tests: skipped: not asked for" in capsys.readouterr().out
    suites.clear()
    dev.test(["tests/host/test_graph.py"])
    assert [arguments for _, arguments, _ in suites] == [["-c", "tests/host/test_graph.py"]]


@pytest.mark.parametrize("options", [["-k", "tests"], ["--deselect", "tests/host/test_graph.py"]])
def test_the_value_of_an_option_names_no_test(dev, suites, options):
    dev.test(options)
    assert suites[-1][1] == ["-c", *options, "--ignore=tests/host", "tests"]


def test_a_test_may_be_named_after_a_flag(dev, suites):
    dev.test(["-k", "tests", "-x", "tests"])
    assert suites[-1][1] == ["-c", "-k", "tests", "-x", "--ignore=tests/host", "tests"]
    dev.test(["-x", "tests/test_dev.py"])
    assert suites[-1][1] == ["-c", "-x", "--ignore=tests/host", "tests/test_dev.py"]


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


def test_one_failing_suite_fails_the_run_and_not_the_others(dev, suites, home, monkeypatch, capsys):
    make_comfyui(home / "comfy" / "a")
    make_comfyui(home / "comfy" / "b")

    def host_venv(comfyui):
        if comfyui.name == "a":
            raise dev.DevError("no network")
        return "b python"

    monkeypatch.setattr(dev, "host_venv", host_venv)
    assert dev.test([], pack=False) == 1
    assert [python for python, _, _ in suites] == ["b python"]
    assert "FAILED: no network" in capsys.readouterr().out


def test_what_every_suite_prints_is_shown_and_its_failure_counts(dev, capfd):
    suites = {
        name: (
            sys.executable,
            ["-c", f"import os; print('this is', '{name}', os.environ['MARK']); exit({code})"],
            {"MARK": mark},
        )
        for name, code, mark in (("first", 0, "a"), ("second", 3, "b"), ("third", 0, "c"))
    }
    report = dev.run_suites(suites)
    assert [result.split(" (")[0] for result in report.values()] == ["passed", "FAILED with exit code 3", "passed"]
    shown = capfd.readouterr().out
    assert all(f"this is {name} {mark}" in shown for name, mark in (("first", "a"), ("second", "b"), ("third", "c")))
    assert shown.index("this is second b") < shown.index("this is third c")


# Requirements


def test_registry_and_manager_are_told_the_same_requirements():
    lines = (ROOT / "requirements.txt").read_text().split()
    dependencies = re.search(r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)[1]
    assert lines == re.findall(r'"(.+?)"', dependencies)
    assert [line for line in lines if not re.fullmatch(r"[a-z]+(>=[\d.]+)?", line)] == []  # no option, no ceiling
