"""The pack as package `facegen`, whatever its folder is called: loaded by path, as its command line and ComfyUI do."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# For a process of its own: `python -c` with this in front.
LOAD = f"import runpy; runpy.run_path({str(ROOT / '__main__.py')!r})['load_pack']()\n"


def load_pack():
    """The package; loaded by the first call. The pack's folder is on sys.path neither before nor after."""
    if "facegen" not in sys.modules:
        runpy.run_path(str(ROOT / "__main__.py"))["load_pack"]()
    return sys.modules["facegen"]
