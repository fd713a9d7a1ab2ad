"""dev.py in a folder of its own, and ComfyUIs for it to find."""

import importlib
import importlib.util
import shutil
import sys
from pathlib import Path

from pack import ROOT

MODULES = ("common", "hosts", "environments", "suites", "start", "release")


def load_dev(path):
    """The dev.py at `path`, with the modules of its own tools/dev as attributes."""
    for name in [name for name in sys.modules if name.split(".")[0] == "tools"]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location("facegen_dev", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as for a script
    try:
        spec.loader.exec_module(module)
        for name in MODULES:
            setattr(module, name, importlib.import_module(f"tools.dev.{name}"))
    finally:
        sys.path.remove(str(path.parent))
    return module


def make_comfyui(path, version="0.8.0"):
    (path / "comfy").mkdir(parents=True)
    (path / "custom_nodes").mkdir()
    (path / "main.py").touch()
    (path / "requirements.txt").write_text("torch\n")
    (path / "comfyui_version.py").write_text(f'# generated\n__version__ = "{version}"\n')
    return path


def place_pack(folder):
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "tools" / "dev", folder / "tools" / "dev", ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy(ROOT / "dev.py", folder))
