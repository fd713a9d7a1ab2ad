"""What the commands share: how they speak, the libraries they import late, and where ComfyUI's models may be."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

from ...errors import FaceGenError

PACK = Path(__file__).resolve().parents[2]
REQUIREMENTS = ("requirements.txt", "requirements-standalone.txt")


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@contextlib.contextmanager
def libraries() -> Iterator[None]:
    """Around imports: raises FaceGenError, with the cure, for a library that isn't there.

    What they make stays for good: looking for garbage among it, again and again, is a fifth of the time to a first picture.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    except ImportError as error:
        raise FaceGenError(
            f"The Python library {error.name or 'needed'} can't be imported ({error}). In the pack's folder, run: "
            f"pip install {' '.join(f'-r {name}' for name in REQUIREMENTS)}"
        ) from error
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def comfyui_models() -> Path | None:
    """ComfyUI's models folder, there or not, when the pack is in its custom_nodes; None elsewhere."""
    return PACK.parent.parent / "models" if PACK.parent.name == "custom_nodes" else None
