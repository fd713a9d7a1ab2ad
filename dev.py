#!/usr/bin/env python3
"""Set everything up on a fresh machine, then run the demo or the tests. Needs Python 3.10 or later and nothing else.

    python3 dev.py demo    portraits from the bundled photo, into out/demo
    python3 dev.py test    lint, the pack's own tests, and its tests inside every ComfyUI found

Every package goes into a virtual environment beside this file; a ComfyUI and its environment are only read.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
WINDOWS = os.name == "nt"
OLDEST_PYTHON = (3, 10)

PACK_REQUIREMENTS = ROOT / "requirements.txt"
HOST_REQUIREMENTS = ROOT / "requirements-host.txt"
DEV_REQUIREMENTS = ROOT / "requirements-dev.txt"

# Options of pytest whose next argument may read like a test's path.
VALUED = {"-k", "-m", "-c", "-o", "-p", "-W", "--ignore", "--ignore-glob", "--deselect", "--rootdir", "--basetemp"}

# Not `-m pytest`: that puts this folder on sys.path, where our nodes/ would shadow ComfyUI's nodes.py.
PYTEST = "import sys; sys.path[:] = filter(None, sys.path); import pytest; sys.exit(pytest.main())"

# What the overlay has to know of the Python that runs a ComfyUI.
PROBE = """
import importlib.metadata, importlib.util, json, sys
pins = {}
for name in ("torch", "torchvision", "torchaudio"):
    try:
        pins[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "pins": pins,
    "site": [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))],
    "makes_venvs": all(map(importlib.util.find_spec, ("venv", "ensurepip"))),
}))
"""


class DevError(Exception):
    """What went wrong and what to do about it, for the person at the shell."""


def say(text: str) -> None:
    print(f"-- {text}", flush=True)


# Finding ComfyUI


def is_comfyui(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "comfy").is_dir() and (path / "comfyui_version.py").is_file()


def comfyui_version(comfyui: Path) -> str:
    found = re.search(r'__version__ = "([\w.+-]+)"', (comfyui / "comfyui_version.py").read_text())
    return found[1] if found else "unknown"


def find_comfyui() -> list[Path]:
    """The checkouts that COMFYUI_PATH names, else the one this pack lies in, else those that comfy-cli made."""
    named = [Path(entry).expanduser() for entry in os.environ.get("COMFYUI_PATH", "").split(os.pathsep) if entry]
    for path in named:
        if not is_comfyui(path):
            raise DevError(f"COMFYUI_PATH: {path} is no ComfyUI (it lacks main.py, comfy/ or comfyui_version.py).")
    return unique(named) or unique(filter(is_comfyui, around_pack())) or unique(filter(is_comfyui, from_comfy_cli()))


def around_pack() -> Iterator[Path]:
    """The parent of each custom_nodes folder that this pack lies in: by its real path or through links."""
    here = Path(os.path.abspath(__file__)).parent
    shell = Path(os.environ.get("PWD", here))  # keeps the links that the user followed
    for folder in (here, shell if shell.resolve() == ROOT else here, ROOT):
        if folder.parent.name == "custom_nodes":
            yield folder.parent.parent


def from_comfy_cli() -> Iterator[Path]:
    """comfy-cli's configured workspace, then its default one and whatever lies beside that."""
    home = Path.home()
    config = configparser.ConfigParser(interpolation=None)
    for folder in (".config", "Library/Application Support", "AppData/Local"):
        with contextlib.suppress(configparser.Error, UnicodeError):
            config.read(home / folder / "comfy-cli" / "config.ini")
    if workspace := config.defaults().get("default_workspace"):
        yield Path(workspace)
    for parent in (home / "comfy", home / "Documents" / "comfy"):
        yield from sorted(parent.glob("*"))


def unique(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(path.resolve() for path in paths))


def has_pack(comfyui: Path) -> bool:
    return any(entry.resolve() == ROOT for entry in (comfyui / "custom_nodes").glob("*"))


# Environments


def venv_python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if WINDOWS else "bin/python")


def quietly(command: list, failure: str) -> str:
    """Run a command and return its output; if it fails, raise `failure` with the output's last lines."""
    lines = []
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    except OSError as error:
        raise DevError(f"{failure}: {error}") from error
    with process:
        for line in process.stdout:
            lines.append(line)
            if sys.stdout.isatty() and line.lstrip().startswith(("Collecting", "Downloading", "Installing")):
                print(f"\r   {line.strip()[:70]:<70}", end="\r", flush=True)
    if process.returncode:
        raise DevError(f"{failure}. The last lines it printed:\n{''.join(lines[-12:]).rstrip()}")
    return "".join(lines)


def usable(python: Path) -> bool:
    try:
        return subprocess.run([python, "-c", "import pip"], capture_output=True).returncode == 0
    except OSError:
        return False


def fingerprint(requirements: list[Path], host: dict | None) -> str:
    content = "".join(f"{path.name}\n{path.read_text(encoding='utf-8')}\n" for path in requirements)
    return hashlib.sha256((content + json.dumps(host)).encode()).hexdigest()


def ensure_venv(venv: Path, maker: str | Path, requirements: list[Path], host: dict | None = None) -> Path:
    """The Python of a venv that holds `requirements`, made or brought up to date where needed.

    With `host` it is an overlay: what it lacks itself it finds in the host's site-packages, whose torch it must keep.
    The stamp is removed first and written last, so that a half-built venv is made anew and not taken for a good one.
    """
    python, stamp = venv_python(venv), venv / "facegen.stamp"
    wanted = fingerprint(requirements, host)
    built = stamp.read_text() if stamp.is_file() and usable(python) else None
    if built == wanted:
        return python

    began = time.monotonic()
    stamp.unlink(missing_ok=True)
    if host or not built:
        say(f"making {venv.name}")
        quietly([maker, "-m", "venv", "--clear", venv], f"Could not make {venv.name} with {maker}")
    say(f"installing packages into {venv.name} (the first time takes minutes)")
    pip = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    if host:
        borrow(python, host["site"])
        constraints = venv / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in host["pins"].items()))
        pip += ["-c", constraints]
    for path in requirements:
        pip += ["-r", path]
    quietly(pip, f"pip could not install what {venv.name} needs")
    stamp.write_text(wanted)
    say(f"{venv.name} is ready ({time.monotonic() - began:.0f} s)")
    return python


def borrow(python: Path, site: list[str]) -> None:
    """Let a venv's Python see the packages in the `site` folders, after its own."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = quietly([python, "-c", ask], f"{python} does not run").strip()
    Path(own, "comfyui.pth").write_text("".join(f"{folder}\n" for folder in site))


def pack_venv() -> Path:
    maker = getattr(sys, "_base_executable", None) or sys.executable
    return ensure_venv(ROOT / ".venv", maker, [PACK_REQUIREMENTS, HOST_REQUIREMENTS, DEV_REQUIREMENTS])


def own_python(comfyui: Path) -> Path | None:
    """The Python of the checkout's own environment, or of the Windows portable build around it."""
    portable = comfyui.parent / "python_embeded" / "python.exe"
    candidates = (venv_python(comfyui / ".venv"), venv_python(comfyui / "venv"), portable)
    return next((path for path in candidates if path.is_file()), None)


def host_venv(comfyui: Path) -> Path:
    """An overlay on the ComfyUI's environment: its packages, and ours where it has none. Nothing is written to it."""
    own = own_python(comfyui)
    maker = own or Path(sys.executable)
    host = json.loads(quietly([maker, "-c", PROBE], f"Could not ask {maker} which packages it has"))
    if not host["makes_venvs"]:  # as in the Windows portable build
        if host["python"] != "{}.{}".format(*sys.version_info[:2]):
            raise DevError(f"{maker} cannot make a venv: run dev.py with a Python {host['python']} instead.")
        maker = Path(sys.executable)
    requirements = [PACK_REQUIREMENTS, HOST_REQUIREMENTS]
    if own is None or "torch" not in host["pins"]:  # a checkout without an environment
        requirements.insert(0, comfyui / "requirements.txt")
    venv = ROOT / f".venv-host-{comfyui_version(comfyui)}"
    return ensure_venv(venv, maker, requirements, host)


# Commands


def demo(options: list[str]) -> int:
    comfyuis = find_comfyui()
    pictures = ROOT / "out" / "demo"
    # Runs where the user is, so that a --face or -o of theirs means what they typed; theirs, coming last, win over ours.
    command = [pack_venv(), ROOT, "generate", "--demo", "--models", "tiny", "-o", pictures]
    code = subprocess.run([*command, *options]).returncode
    if code:
        return code
    if not any(option.startswith(("-o", "--out")) for option in options):
        say(f"the pictures are in {pictures}")
    for comfyui in comfyuis:
        state = "has this pack" if has_pack(comfyui) else "lacks this pack: link this folder into its custom_nodes"
        say(f"the demo ran without ComfyUI; ComfyUI {comfyui_version(comfyui)} in {comfyui} {state}")
    return 0


def outcome(python: Path, arguments: list[str], output=None, **environ: str) -> str:
    began = time.monotonic()
    # One thread: the tests' tensors are small, and threads that wait for a busy core by spinning take minutes, not seconds.
    env = {"OMP_NUM_THREADS": "1", **os.environ, **environ}
    code = subprocess.run(
        [python, *arguments], cwd=ROOT, env=env, stdout=output, stderr=output and subprocess.STDOUT
    ).returncode
    result = f"FAILED with exit code {code}" if code else "passed"
    return f"{result} ({time.monotonic() - began:.0f} s)"


def run_suites(suites: dict[str, tuple]) -> dict[str, str]:
    """Name -> result. Each suite keeps one core busy, so as many run at once as there are cores.

    One is shown as it runs; what the others print follows it, suite by suite.
    """
    report, shown = {}, next(iter(suites), None)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, contextlib.ExitStack() as files:
        outputs = {
            name: files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            for name in suites
            if name != shown
        }
        running = {
            name: pool.submit(outcome, python, arguments, outputs.get(name), **environ)
            for name, (python, arguments, environ) in suites.items()
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


def test(options: list[str], pack: bool = True, host: bool = True) -> int:
    """The summary names every suite, also those that did not run. Options that name tests choose among the suites."""
    comfyuis = find_comfyui() if host else []
    named, others = split_named(options)
    for_host = [name for name in named if Path(name).parts[:2] == ("tests", "host")]
    for_pack = [name for name in named if name not in for_host]
    pytest = ["-c", PYTEST, *others]

    pack = pack and (for_pack or not named)
    host = host and (for_host or not named)

    report, suites = {}, {}
    if pack:
        python = pack_venv()
        report["lint"] = outcome(python, ["-m", "ruff", "check", "--output-format=concise"])
        suites["pack tests"] = (python, [*pytest, "--ignore=tests/host", *(for_pack or ["tests"])], {})
    else:
        report["pack tests"] = "skipped: not asked for"
    for comfyui in comfyuis if host else []:
        suite = f"host tests in {comfyui}"
        try:
            suites[suite] = (host_venv(comfyui), [*pytest, *(for_host or ["tests/host"])], {"COMFYUI_PATH": str(comfyui)})
        except DevError as error:
            report[suite] = f"FAILED: {error}"
    report |= run_suites(suites)
    if not host:
        report["host tests"] = "skipped: not asked for"
    elif not comfyuis:
        report["host tests"] = "skipped: no ComfyUI found; set COMFYUI_PATH to a checkout of it"

    print()
    for suite, result in report.items():
        say(f"{suite}: {result}")
    return int(any(result.startswith("FAILED") for result in report.values()))


def main() -> int:
    if sys.version_info[:2] < OLDEST_PYTHON:
        wanted, found = (".".join(map(str, version)) for version in (OLDEST_PYTHON, sys.version_info[:3]))
        print(f"dev.py: this is Python {found}; run it with Python {wanted} or later.", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    more = {"allow_abbrev": False, "epilog": "Further options are passed on."}
    commands.add_parser("demo", help="make the demo's pictures; takes the options of generate, too", **more)
    tests = commands.add_parser("test", help="run lint and all tests; takes pytest's options, too", **more)
    which = tests.add_mutually_exclusive_group()
    which.add_argument("--no-host", action="store_true", help="leave out the tests inside ComfyUI")
    which.add_argument("--host-only", action="store_true", help="run nothing but the tests inside ComfyUI")
    chosen, options = parser.parse_known_args()
    try:
        if chosen.command == "demo":
            return demo(options)
        return test(options, pack=not chosen.host_only, host=not chosen.no_host)
    except DevError as error:
        print(f"dev.py: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("dev.py: stopped", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
