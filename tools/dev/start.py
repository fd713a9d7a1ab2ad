"""`dev.py comfyui`: ComfyUI with this pack in it, at the portrait template, for someone with nothing yet."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import webbrowser
from pathlib import Path

from .common import ROOT, DevError, environment, link_folder, quietly, say
from .environments import ensure_venv, host_venv
from .hosts import comfyui_version, find_comfyui, is_comfyui

TEMPLATE = "portrait_sd15"
GITHUB = "https://github.com/comfyanonymous/ComfyUI"
CLI_REQUIREMENTS = ROOT / "tools" / "dev" / "requirements-comfyui.txt"
PORT = 8188
START_SECONDS = 600.0  # a first start compiles everything it imports


def comfyui(options: list[str], port: int | None = None, browser: bool = True) -> int:
    """Find or install ComfyUI, link the pack, start it and open the template; `options` go to ComfyUI's main.py."""
    found = find_comfyui()
    home = found[0] if found else install(ROOT.parent / "ComfyUI")
    name = link_pack(home)
    python = host_venv(home)
    port = port or free_port()
    say(f"starting ComfyUI {comfyui_version(home)} in {home} (stop it with Ctrl+C)")
    command: list[str | Path] = [python, "main.py", "--port", str(port), "--disable-auto-launch", *options]
    process = subprocess.Popen(command, cwd=home, env=environment(borrowed=True))
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(process, f"{address}/system_stats")
        address += "/?" + urllib.parse.urlencode({"template": TEMPLATE, "source": name})
        say(f"ComfyUI runs: {address}")
        say(f"where the template does not open by itself: Workflow > Browse Templates > {name} > {TEMPLATE}")
        if browser:
            webbrowser.open(address)
        return process.wait()
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def install(folder: Path) -> Path:
    """ComfyUI and its environment in `folder`, by comfy-cli. Raises DevError in one sentence where GitHub is out of reach."""
    if folder.exists() and not is_comfyui(folder):
        raise DevError(f"{folder} is in the way: it is no ComfyUI. Move it, or set COMFYUI_PATH to a checkout of ComfyUI.")
    require_github()
    maker = getattr(sys, "_base_executable", None) or sys.executable
    python = ensure_venv(ROOT / ".venv-comfy-cli", maker, [CLI_REQUIREMENTS])
    say(f"installing ComfyUI into {folder} with comfy-cli (this downloads gigabytes)")
    comfy: list[str | Path] = [python, "-m", "comfy_cli", "--skip-prompt", "--workspace", folder]
    quietly([*comfy, "tracking", "disable"], "comfy-cli does not run")
    quietly([*comfy, "install", graphics(), "--skip-manager"], "comfy-cli could not install ComfyUI")
    if not is_comfyui(folder):
        raise DevError(f"comfy-cli left no ComfyUI in {folder}. Install it by hand and set COMFYUI_PATH to it.")
    return folder


def require_github() -> None:
    try:
        urllib.request.urlopen(urllib.request.Request(GITHUB, method="HEAD"), timeout=15).close()
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise DevError(
            f"No ComfyUI was found, and GitHub, where comfy-cli gets it from, can't be reached ({reason}): "
            "install ComfyUI by other means and set COMFYUI_PATH to its folder."
        ) from None


def graphics() -> str:
    """comfy-cli's option for this machine's graphics."""
    if sys.platform == "darwin":
        return "--m-series" if platform.machine() == "arm64" else "--cpu"
    return "--nvidia" if shutil.which("nvidia-smi") else "--cpu"


def link_pack(home: Path) -> str:
    """Put a link to this folder into custom_nodes, if the pack is not in there; give its name there."""
    for entry in sorted((home / "custom_nodes").glob("*")):
        if entry.resolve() == ROOT:
            return entry.name
    link = home / "custom_nodes" / "ComfyUI-FaceGen"
    if os.path.lexists(link):
        raise DevError(f"{link} is another copy of this pack: remove it, or run the dev.py in there.")
    link.parent.mkdir(exist_ok=True)
    link_folder(link, ROOT)
    say(f"linked the pack to {link}")
    return link.name


def free_port() -> int:
    """ComfyUI's own port, or another where that is taken."""
    for port in (PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise DevError("No free port on 127.0.0.1.")


def wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    """Until ComfyUI answers. Raises DevError when it ends, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DevError(f"ComfyUI ended while starting, with exit code {process.returncode}; it says why above.")
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            raise DevError(f"Something else answers at {address}: {error}") from error
        except OSError:
            time.sleep(0.5)
    raise DevError(f"ComfyUI did not answer within {START_SECONDS:.0f} s.")
