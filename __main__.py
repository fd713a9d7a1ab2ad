"""The door from a shell: `python <pack folder> generate …`."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def load_pack():
    """Import the pack by path as `facegen`, whatever its folder is called.

    Python puts the folder of a script on sys.path; it goes, or our nodes/ would shadow ComfyUI's nodes.py.
    """
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    spec = importlib.util.spec_from_file_location("facegen", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    sys.modules["facegen"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)


if __name__ == "__main__":
    # Before torch reads it. Threads that wait by spinning take the core from the one that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # diffusers imports peft where it is installed, which takes a second; nothing here uses it. None: it isn't to be found.
    sys.modules["peft"] = None
    sys.stdout.reconfigure(errors="replace")  # a file may have a name that the console can't show
    load_pack()
    from facegen.standalone.cli.main import main

    sys.exit(main())
