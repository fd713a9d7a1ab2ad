"""What all commands share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = os.name == "nt"


class DevError(Exception):
    """What went wrong and what to do about it, for the person at the shell."""


def say(text: str) -> None:
    print(f"-- {text}", flush=True)


def quietly(command: list, failure: str) -> str:
    """Run a command and return its output; if it fails, raise `failure` with the output's last lines."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    except OSError as error:
        raise DevError(f"{failure}: {error}") from error
    if done.returncode:
        last = "\n".join(done.stdout.rstrip().splitlines()[-12:])
        raise DevError(f"{failure}. The last lines it printed:\n{last}")
    return done.stdout
