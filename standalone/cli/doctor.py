"""`doctor`: what is installed and which files are there, as a table with a cure for each problem. It changes nothing, and
needs none of the libraries that it looks for."""

import argparse
import functools
import importlib
import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...models import onnx_providers
from .common import PACK, fetch_command
from .doctor_rows.api import local_api_rows
from .doctor_rows.files import BROKEN, MISSING, NOTE, OK, ModelFolders, Row, file_rows, key_row
from .doctor_rows.methods import method_rows

STATE = max(map(len, (OK, NOTE, MISSING, BROKEN)))  # width of the first column
OLDEST_PYTHON = (3, 10)
OLDEST_COMFYUI = (0, 3, 64)
# import name -> (distributions that bring it, oldest version)
LIBRARIES = {
    "torch": (("torch",), ()),
    "numpy": (("numpy",), ()),
    "safetensors": (("safetensors",), ()),
    "insightface": (("insightface",), (2, 1)),
    "onnxruntime": (
        (
            "onnxruntime",
            "onnxruntime-gpu",
            "onnxruntime-directml",
            "onnxruntime-silicon",
            "onnxruntime-openvino",
            "onnxruntime-rocm",
            "onnxruntime-migraphx",
        ),
        (),
    ),
    "nudenet": (("nudenet",), (3, 4, 2)),
    "cv2": (
        ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
        (),
    ),
}
NOT_LOOKED = "\nNothing is broken, but model files were not looked at: no ComfyUI with this pack was found."
INSTALL = f'"{sys.executable}" -m pip install -r "{PACK / "requirements.txt"}"'


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `doctor` to the commands; it sets `run`."""
    parser = commands.add_parser("doctor", help="check versions, model files and settings; say what to do about each problem")
    parser.add_argument("--models", type=Path, help="ComfyUI's models folder. Default: that of the ComfyUI with this pack.")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the table. Raises SystemExit(1) when something is broken, or files are missing."""
    folders = ModelFolders.find(options.models)
    user = (folders.comfyui or Path("nowhere")) / "user" / "facegen"
    rows = [*software(folders), *file_rows(folders), *method_rows(folders), key_row(user), *local_api_rows(user)]
    print(table(rows))
    broken, missing = (sum(row.state == state for row in rows) for state in (BROKEN, MISSING))
    if not broken:
        print("\nNothing is broken." if folders.models else NOT_LOOKED)
    else:
        print(f"\n{broken} to fix: the rows that begin with {BROKEN}.")
    if missing:
        print(f"{missing} to download: the rows that begin with {MISSING}.")
    fetch = [row.fetch for row in rows if row.fetch]
    if folders.models and len(fetch) > 1:
        print(f"All missing model files at once: {fetch_command(fetch, folders.models)}")
    if broken or missing:
        raise SystemExit(1)


def table(rows: list[Row]) -> str:
    """Columns in line; cures below their rows. In what was found, the user's home folder is written as ~."""
    width = max(len(row.what) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{row.state:<{STATE}} {row.what:<{width}}  {row.found.replace(str(Path.home()), '~')}")
        if row.cure:
            lines.append(f"{'':<{STATE}} {'':<{width}}  -> {row.cure}")
    return "\n".join(lines)


def version() -> str:
    """The pack's own, from its one place."""
    found = re.search(r'^version = "(.+)"', (PACK / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "unknown"


def software(folders: ModelFolders) -> Iterator[Row]:
    yield Row(OK, "ComfyUI-FaceGen", version())
    python = platform.python_version()
    new_enough = sys.version_info[:2] >= OLDEST_PYTHON
    yield Row(
        OK if new_enough else BROKEN,
        "Python",
        f"{python} on {platform.platform(terse=True)}",
        "" if new_enough else "Use Python 3.10 or later.",
    )
    yield comfyui(folders.comfyui)
    loaded = {}
    for name, (distributions, oldest) in LIBRARIES.items():
        row, loaded[name] = library(name, distributions, oldest)
        yield row
    yield providers(loaded["onnxruntime"], loaded["torch"])


def comfyui(folder: Path | None) -> Row:
    try:
        text = (folder / "comfyui_version.py").read_text(encoding="utf-8") if folder else ""
    except OSError:
        text = ""
    found = re.search(r'__version__ = "([\w.+-]+)"', text)
    if not found:
        return Row(NOTE, "ComfyUI", "not found around the pack or the models folder")
    if numbers(found[1]) < OLDEST_COMFYUI:
        return Row(BROKEN, "ComfyUI", found[1], f"Update ComfyUI to {'.'.join(map(str, OLDEST_COMFYUI))} or later.")
    return Row(OK, "ComfyUI", found[1])


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


def library(name: str, distributions: tuple[str, ...], oldest: tuple[int, ...]) -> tuple[Row, Any]:
    """(row, module or None): its version, whether it can be imported, and whether several builds share its folder."""
    found = {}
    for distribution in dict.fromkeys((*distributions, *brought_by().get(name, ()))):
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    shown = ", ".join(f"{distribution} {number}" for distribution, number in found.items()) or "not installed"
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a library built for another numpy, or a missing DLL, may raise anything
        if not found and isinstance(error, ImportError):
            return Row(BROKEN, name, shown, f"Run: {INSTALL}"), None
        first = str(error).strip().split("\n")[0]
        return Row(BROKEN, name, f"{shown}; importing it fails: {first}", f"Run: {INSTALL} --force-reinstall"), None
    number = next(iter(found.values()), getattr(module, "__version__", ""))
    if oldest and numbers(number) < oldest:
        return Row(BROKEN, name, shown, f"Run: {INSTALL} --upgrade"), module
    if clash := several(name, found):
        return Row(NOTE, name, shown, clash), module
    return Row(OK, name, shown), module


@functools.cache
def brought_by() -> dict[str, list[str]]:
    """Module -> installed distributions that say that they hold it: a build for other hardware has a name of its own."""
    every = importlib.metadata.packages_distributions()
    return {name: [re.sub(r"[-_.]+", "-", one).lower() for one in found if one] for name, found in every.items()}


def several(name: str, found: dict[str, str]) -> str:
    """What to do about builds that overwrite each other's files; nothing for builds of OpenCV in one version."""
    if len(found) < 2 or (name == "cv2" and len(set(found.values())) == 1):
        return ""
    if name == "cv2":
        newest = max(found.values(), key=numbers)
        same = " ".join(f"{distribution}=={newest}" for distribution in found)
        return f"Different versions share one folder. Run: pip install {same}"
    kept = list(found)[-1]  # a build for special hardware, which nobody installs by chance
    clean = f"pip uninstall -y {' '.join(found)}, then: pip install {kept}"  # taking one out takes files of the other along
    return f"They share one folder, and the last one installed counts. To have {kept} alone, run: {clean}"


def providers(onnxruntime: Any, torch: Any) -> Row:
    if onnxruntime is None:
        return Row(NOTE, "ONNX providers", "unknown without onnxruntime")
    there = onnxruntime.get_available_providers()  # also some that run nothing of ours, such as Azure's
    offered = [label for label, (full, _) in onnx_providers.PROVIDERS.items() if full in there]
    amd = torch is not None and getattr(torch.version, "hip", None) is not None
    wanted, build = ({"ROCm", "MIGraphX"}, "onnxruntime-migraphx") if amd else ({"CUDA"}, "onnxruntime-gpu")
    if torch is not None and torch.cuda.is_available() and wanted.isdisjoint(offered):
        cure = f"Faces are found on the CPU, which works. For the GPU, put {build} in onnxruntime's place."
        return Row(NOTE, "ONNX providers", ", ".join(offered), cure)
    return Row(OK, "ONNX providers", ", ".join(offered))
