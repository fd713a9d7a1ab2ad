"""Virtual environments beside dev.py: one for the pack, an overlay on it for several machines, one on each ComfyUI's own."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .common import ROOT, WINDOWS, DevError, environment, quietly, say
from .hosts import comfyui_version

PACK_REQUIREMENTS = ROOT / "requirements.txt"
STANDALONE_REQUIREMENTS = ROOT / "requirements-standalone.txt"
DEV_REQUIREMENTS = ROOT / "requirements-dev.txt"
SCALE_REQUIREMENTS = ROOT / "requirements-scale.txt"
# A PostgreSQL and a server that speaks S3, for tests.
SCALE_SERVERS = ROOT / "tools" / "dev" / "requirements-scale-tests.txt"
# What needs torchvision, of which ComfyUI's environment has the one that fits its torch.
HOST_REQUIREMENTS = ROOT / "tools" / "dev" / "requirements-host.txt"

# What pip was told, in its files or by the environment -> uv's variable for the same: uv doesn't read pip's.
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
}

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

# What a Python finds, its own and what it borrows: name==version, line by line.
INSTALLED = """
import importlib.metadata
for found in importlib.metadata.distributions():
    if found.name:
        print(f"{found.name}=={found.version}")
"""


def venv_python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if WINDOWS else "bin/python")


def usable(python: Path) -> bool:
    try:
        return subprocess.run([python, "-c", "import pip"], capture_output=True).returncode == 0
    except OSError:
        return False


def fingerprint(requirements: list[Path], host: dict[str, Any] | None) -> str:
    content = "".join(f"{path.name}\n{path.read_text(encoding='utf-8')}\n" for path in requirements)
    return hashlib.sha256((content + json.dumps(host)).encode()).hexdigest()


def ensure_venv(venv: Path, maker: str | Path, requirements: list[Path], host: dict[str, Any] | None = None) -> Path:
    """The Python of a venv that holds `requirements`, made or brought up to date where needed.

    With `host` it is an overlay: what it lacks itself it finds in the host's site-packages, whose torch it must keep.
    The stamp is removed first and written last, so that a half-built venv is made anew and not taken for a good one.
    """
    python, stamp = venv_python(venv), venv / "facegen.stamp"
    wanted = fingerprint(requirements, host)
    built = stamp.read_text(encoding="utf-8") if stamp.is_file() and usable(python) else None
    if built == wanted:
        return python

    began = time.monotonic()
    stamp.unlink(missing_ok=True)
    if host or not built:
        say(f"making {venv.name}")
        quietly([maker, "-m", "venv", "--clear", venv], f"Could not make {venv.name} with {maker}")
    say(f"installing packages into {venv.name} (the first time takes minutes)")
    if host:
        borrow(python, host["site"])
        install_beside(python, requirements, host["pins"])
    else:
        install(python, requirements)
    stamp.write_text(wanted, encoding="utf-8")
    say(f"{venv.name} is ready ({time.monotonic() - began:.0f} s)")
    return python


def named(requirements: list[Path]) -> list[str | Path]:
    return [part for path in requirements for part in ("-r", path)]


def bring_uv(python: Path) -> Callable[..., str]:
    """Install uv by pip, which takes minutes for what uv does in seconds; what runs `uv pip` with the arguments given."""
    name = python.parents[1].name
    uv = next((line for line in DEV_REQUIREMENTS.read_text(encoding="utf-8").splitlines() if line.startswith("uv")), "uv")
    # Python compiles what is imported when it is: a small part of all that is installed.
    options = ["--no-input", "--no-compile", "--disable-pip-version-check", "--progress-bar=off"]
    quietly([python, "-m", "pip", "install", *options, uv], f"pip could not install uv into {name}")
    settings = uv_settings(python)
    return lambda *command: quietly([python, "-m", "uv", "pip", *command], f"uv could not install what {name} needs", settings)


def install(python: Path, requirements: list[Path]) -> None:
    run_uv = bring_uv(python)
    run_uv("install", "--python", python, *named(requirements))


def uv_settings(python: Path) -> dict[str, str]:
    """The environment for uv, with what pip was told about package indexes; what the user told uv stays."""
    told = quietly([python, "-m", "pip", "config", "list"], "pip does not run")
    ours = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # as pip chooses among indexes
    for line in told.splitlines():  # such as global.index-url='https://…'; what counts more comes first
        key, _, value = line.partition("=")
        variable = PIP_TO_UV.get(key.rpartition(".")[2])
        if variable and value[:1] in ("'", '"'):
            ours.setdefault(variable, " ".join(ast.literal_eval(value).split()))
    return environment(**{name: value for name, value in ours.items() if name not in os.environ})


def install_beside(python: Path, requirements: list[Path], pins: dict[str, str]) -> None:
    """What is lacking beside the packages that the environment borrows: uv doesn't see those.

    So it is asked which versions it would take, with those that are there preferred, and installs the others. The packages in
    `pins` are left out with all that they need: an index may not have the host's own.
    """
    run_uv = bring_uv(python)
    venv = python.parents[1]
    there = quietly([python, "-c", INSTALLED], f"{python} does not run")
    kept, wanted, lacking = (venv / f"{name}.txt" for name in ("kept", "wanted", "lacking"))
    kept.write_text("".join(f"{name}\n" for name in pins), encoding="utf-8")
    wanted.write_text(there, encoding="utf-8")  # uv prefers what this file says, and writes over it
    quiet = ["--no-header", "--no-annotate", "--quiet"]
    run_uv("compile", "--python", python, *quiet, "--excludes", kept, "-o", wanted, *requirements)
    have = set(map(comparable, there.splitlines()))
    lines = wanted.read_text(encoding="utf-8").splitlines()
    lacking.write_text("".join(f"{line}\n" for line in lines if comparable(line) not in have), encoding="utf-8")
    run_uv("install", "--python", python, "--no-deps", "-r", lacking)


def comparable(requirement: str) -> str:
    """name==version with the name as indexes write it."""
    name, _, version = requirement.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def borrow(python: Path, site: list[str]) -> None:
    """Let a venv's Python see the packages in the `site` folders, after its own."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = quietly([python, "-c", ask], f"{python} does not run").strip()
    # In the encoding that this venv's Python reads its .pth files in.
    Path(own, "comfyui.pth").write_text("".join(f"{folder}\n" for folder in site))


def pack_venv() -> Path:
    maker = getattr(sys, "_base_executable", None) or sys.executable
    return ensure_venv(ROOT / ".venv", maker, [PACK_REQUIREMENTS, STANDALONE_REQUIREMENTS, DEV_REQUIREMENTS])


def scale_venv() -> Path:
    """An overlay on the pack's environment, with what several fronts and machines need."""
    pack = pack_venv()
    host = json.loads(quietly([pack, "-c", PROBE], f"Could not ask {pack} which packages it has"))
    return ensure_venv(ROOT / ".venv-scale", pack, [SCALE_REQUIREMENTS, SCALE_SERVERS], host)


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
    requirements = [PACK_REQUIREMENTS, DEV_REQUIREMENTS, HOST_REQUIREMENTS]
    if own is None or "torch" not in host["pins"]:  # a checkout without an environment
        requirements.insert(0, comfyui / "requirements.txt")
    venv = ROOT / f".venv-host-{comfyui_version(comfyui)}"
    return ensure_venv(venv, maker, requirements, host)
