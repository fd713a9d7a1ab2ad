"""What a benchmark found, as a line of JSON for whoever makes a table of several."""

import json
import platform
import time
from pathlib import Path

import torch


def card() -> str:
    """What computes: a GPU's name, or the CPU and how many threads."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread(s)"


def keep(file: Path | None, part: str, **found) -> None:
    """Adds a line to `file`, if one is given."""
    if file is not None:
        where = {"card": card(), "torch": torch.__version__, "python": platform.python_version()}
        with file.open("a") as lines:
            lines.write(json.dumps({"part": part, "at": round(time.time()), **where, **found}) + "\n")
