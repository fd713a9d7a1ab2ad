"""For a process of its own, without the pack's folder on sys.path: `python tools/tiny_model …`."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.modules["peft"] = None  # diffusers imports it where it is installed, which takes seconds; nothing here uses it
    runpy.run_path(str(Path(__file__).resolve().parents[2] / "__main__.py"))["load_pack"]()
    from facegen.tools.tiny_model.run import main

    sys.exit(main())
