"""mypy, strict, over what is shipped. Run by the Python of the pack's environment, which has mypy.

The pack's folder may have any name, mypy wants one that can be imported: it gets a link called `facegen`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from .common import ROOT, link_folder

MODULES = ("contract", "errors", "atomic_write")
PACKAGES = ("adoption", "models", "api", "comfyui", "nodes", "standalone")


def main() -> int:
    """mypy's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "facegen")
        link_folder(link, ROOT)
        try:
            what = [f"--module=facegen.{name}" for name in MODULES] + [f"--package=facegen.{name}" for name in PACKAGES]
            options: list[str | Path] = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
            return subprocess.run([sys.executable, "-m", "mypy", *options, *what], cwd=folder).returncode
        finally:
            link.unlink() if link.is_symlink() else link.rmdir()  # a junction is a folder to Python


if __name__ == "__main__":
    sys.exit(main())
