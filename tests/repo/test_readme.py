"""README.md and docs/model-files.md: every command in them runs, every link leads somewhere."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev_tools import load_dev
from facegen.models.published import STARTER, STARTER_OF_INSTANTID, STARTER_OF_PULID
from facegen.standalone.cli import comfyui
from facegen.standalone.cli import models as models_commands
from facegen.standalone.cli.main import main
from local_api_server import LocalServer
from pack import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL_FILES = (ROOT / "docs" / "model-files.md").read_text(encoding="utf-8")


def commands(page):
    blocks = "".join(re.findall(r"```\n(.*?)```", page, re.DOTALL))
    return [line.strip() for line in blocks.splitlines() if line.strip()]


COMMANDS = commands(README)


def of_pack(listed=COMMANDS):
    """The commands of the pack's own command line, without Python and `.`."""
    return [shlex.split(c)[2:] for c in listed if shlex.split(c)[:2] in (["python", "."], [".venv/bin/python", "."])]


def of_model_files():
    """Those of the page about model files, and what its table of methods downloads."""
    names = re.findall(r"^\|[^|]+\|[^|]+\| `([^`]+)` \|", MODEL_FILES.partition("|---")[2].partition("\n## ")[0], re.MULTILINE)
    return [*of_pack(commands(MODEL_FILES)), *(["models", "download", *row.split()] for row in names)]


def of_dev():
    return [shlex.split(c)[2:] for c in COMMANDS if c.startswith("python3 dev.py ")]


def test_it_is_short_and_every_command_has_a_test():
    assert len(README.splitlines()) < 300
    others = [c for c in COMMANDS if not c.startswith(("python . ", ".venv/bin/python . ", "python3 dev.py ", "printf "))]
    assert others == ["python -m pip install -r requirements.txt"]
    assert (
        len(of_pack()) == 6
        and ["models", "download", *STARTER.values()] in of_pack()
        and [c[0] for c in of_dev()] == ["comfyui", "demo", "test"]
    )


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).is_file(), target


def test_requirements_are_met_by_pip(tmp_path):
    """Here they are installed, so that pip looks and changes nothing."""
    pytest.importorskip("pip")  # uv makes environments without it
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "-r", "requirements.txt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout


def test_the_page_of_model_files_has_every_method():
    asked = [c[2:] for c in of_model_files() if c[:2] == ["models", "download"]]
    assert len(asked) == 6
    for starter in (STARTER, STARTER_OF_INSTANTID, STARTER_OF_PULID):
        assert any(set(starter.values()) <= set(names) for names in asked), starter


@pytest.mark.parametrize(
    "arguments", [c for c in [*of_pack(), *of_model_files()] if c[0] in ("models", "doctor")], ids=" ".join
)
def test_commands_of_the_pack(arguments, tmp_path, monkeypatch, capsys):
    """Models in a ComfyUI; downloading and converting have tests of their own."""
    (tmp_path / "models").mkdir()
    if arguments[0] == "models":  # the doctor would find models lacking
        monkeypatch.setattr(comfyui, "PACK", tmp_path / "custom_nodes" / "ComfyUI-FaceGen")
    monkeypatch.setattr(comfyui, "known_comfyuis", lambda: iter(()))
    ran = []
    for fetch in ("fetch_file", "fetch_pack"):
        monkeypatch.setattr(models_commands, fetch, lambda one, models: ran.append((one.name, models)))
    monkeypatch.setattr(models_commands, "run_convert", lambda options: ran.append(options.file))
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    shown = capsys.readouterr().out
    assert code == 0, shown
    wanted = {"download": [(name, tmp_path / "models") for name in arguments[2:]], "convert": [Path("FILE.bin")]}
    assert ran == wanted.get(arguments[1] if len(arguments) > 1 else "", [])
    assert ran or "buffalo_l" in shown or "Nothing is broken" in shown


@pytest.mark.parametrize("arguments", of_dev(), ids=" ".join)
def test_commands_of_dev(arguments, monkeypatch):
    """Each reaches what does it; that has tests of its own."""
    dev = load_dev(ROOT / "dev.py")
    ran = []
    monkeypatch.setattr(dev.suites, "test", lambda options, pack, host, all_hosts: ran.append("test") or 0)
    monkeypatch.setattr(dev.start, "comfyui", lambda options, port, browser: ran.append("comfyui") or 0)
    monkeypatch.setattr(dev, "demo", lambda options: ran.append("demo") or 0)
    monkeypatch.setattr(dev.sys, "argv", ["dev.py", *arguments])
    assert dev.main() == 0 and ran == arguments


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("bash"), reason="needs cURL and a shell")
def test_curl(tmp_path):
    """As it is printed, but for the port: in docs/local-api.md, too."""
    (command,) = (c for c in COMMANDS if c.startswith("printf "))
    assert command in (ROOT / "docs" / "local-api.md").read_text(encoding="utf-8")
    with LocalServer(tmp_path, enabled=True, poll_seconds=0.3) as server:
        here = command.replace("127.0.0.1:8188", f"127.0.0.1:{server.port}") + " --silent"
        done = subprocess.run(["bash", "-c", here], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and json.loads(done.stdout)["status"] == "success", done
