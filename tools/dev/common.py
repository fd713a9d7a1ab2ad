"""What all commands share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = os.name == "nt"


class DevError(Exception):
    """What went wrong and what to do about it, for the person at the shell."""


def environment(borrowed: bool = False, **more: str) -> dict[str, str]:
    """The variables for a process that dev.py starts; what the user set stays, and `more` wins.

    Where Python is told to write no compiled code, as in many containers, each process would compile torch again, for 12
    seconds. So ours write it: beside the sources, where all is ours; where packages are `borrowed` from an environment that is
    only read, in a folder of its own.
    """
    # Threads that wait by spinning take the core from the one that they wait for: on a busy machine twenty times as long.
    ours = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        ours["PYTHONDONTWRITEBYTECODE"] = ""
        if borrowed:
            ours["PYTHONPYCACHEPREFIX"] = str(ROOT / ".venv-bytecode")
    return ours | more


def link_folder(link: Path, folder: Path) -> None:
    """Raises DevError or OSError when it can't be made."""
    if WINDOWS:  # links to files and folders need a right that most users lack; junctions don't
        quietly(["cmd", "/c", "mklink", "/J", link, folder], f"Could not link {folder} to {link}")
    else:
        link.symlink_to(folder, target_is_directory=True)


def say(text: str) -> None:
    print(f"-- {text}", flush=True)


def quietly(command: Sequence[str | Path], failure: str, env: dict[str, str] | None = None) -> str:
    """Run a command and return its output; if it fails, raise `failure` with the output's last lines."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", env=env
        )
    except OSError as error:
        raise DevError(f"{failure}: {error}") from error
    if done.returncode:
        last = "\n".join(done.stdout.rstrip().splitlines()[-12:])
        raise DevError(f"{failure}. The last lines it printed:\n{last}")
    return done.stdout
