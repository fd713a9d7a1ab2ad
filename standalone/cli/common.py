"""What the commands share: how they speak, how a command is written down, and the libraries they import late."""

import argparse
import contextlib
import gc
import os
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...api.local.flavours import TINY
from ...errors import FaceGenError

PACK = Path(__file__).resolve().parents[2]
REQUIREMENTS = ("requirements.txt", "requirements-standalone.txt")


class _HelpFormatter(argparse.HelpFormatter):
    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)


class Parser(argparse.ArgumentParser):
    """In its help, and in that of its commands, lines break between words and not inside of them: a name of a file may hold
    hyphens."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"formatter_class": _HelpFormatter, **kwargs})


def add_models_argument(parser: argparse.ArgumentParser) -> None:
    """Where the model files are."""
    parser.add_argument(
        "--models",
        default=TINY,
        help="Folder with the model files, laid out like ComfyUI's models folder, or 'tiny'. Default: tiny.",
    )


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@contextlib.contextmanager
def libraries(requirements: Iterable[str] = REQUIREMENTS) -> Iterator[None]:
    """Around imports: raises FaceGenError, with the cure, for a library that isn't there; `requirements` name files with it.

    What they make stays for good: looking for garbage among it, again and again, is a fifth of the time to a first picture.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    except ImportError as error:
        raise FaceGenError(
            f"The Python library {error.name or 'needed'} can't be imported ({error}). In the pack's folder, run: "
            f"pip install {' '.join(f'-r {name}' for name in requirements)}"
        ) from error
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def fetch_command(names: Iterable[str], models: Path) -> str:
    """The command that downloads these published files into the models folder."""
    return command("models", "download", *names, "--models", str(models.absolute()))


def command(*words: str) -> str:
    """A command of this pack, as it can be pasted into the shell: with this Python, and from any folder."""
    line = [sys.executable, str(PACK), *words]
    return " ".join(f'"{word}"' if " " in word else word for word in line) if os.name == "nt" else shlex.join(line)
