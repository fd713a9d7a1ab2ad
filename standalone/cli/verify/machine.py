"""What a report says of the machine: what it is and what is installed, and nothing of whose it is."""

import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from ....errors import printable
from ...memory import devices
from ..common import PACK
from ..doctor import version

LIBRARIES = ("diffusers", "transformers", "insightface", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "timm")
NVIDIA, PROCESSORS = Path("/proc/driver/nvidia/version"), Path("/proc/cpuinfo")
# An absolute path up to its last part; no URL, and no "and/or".
FOLDERS = re.compile(r"""(?<![\w.:~/\\-])(?:[A-Za-z]:)?[\\/](?:[^\\/\s'",;:()]+[\\/])+""")


def machine(device: torch.device) -> dict[str, Any]:
    """By what it is called in the report."""
    facts: dict[str, Any] = {
        "ComfyUI-FaceGen": version(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        **{name: number for name in LIBRARIES if (number := _version(name))},
        "CPU": f"{_processor()} ({os.cpu_count()} cores)".strip(),
        "memory": _memory(),
        "device": "CPU",
    }
    if device.type == "cuda":
        gpu = devices()[device.index or 0]
        facts |= {"device": gpu["name"], "its memory": _gigabytes(gpu["vram_total"]), **_drivers()}
    return {name: value for name, value in facts.items() if value}


def without_paths(text: str, *folders: Path) -> str:
    """A text with file names in place of absolute paths: what is left of those below `folders` tells where in them."""
    known = (*folders, PACK, Path(sys.prefix), Path(tempfile.gettempdir()), Path.cwd(), Path.home())
    spelled = {str(spelling) for folder in known for spelling in (folder.absolute(), folder.resolve())}
    for folder in sorted(spelled, key=len, reverse=True):
        if len(folder) > 2:
            text = text.replace(f"{folder}/", "").replace(f"{folder}\\", "").replace(folder, "…")
    return printable(" ".join(FOLDERS.sub("", text).split()))


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", PROCESSORS.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _memory() -> str:
    try:
        import psutil
    except ImportError:
        return ""
    return _gigabytes(psutil.virtual_memory().total)


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.0f} GiB"


def _drivers() -> dict[str, str]:
    """CUDA or ROCm as torch was built for it, and the driver as far as it can be told."""
    if torch.version.hip:
        return {"ROCm": torch.version.hip}
    found = {"CUDA": torch.version.cuda or ""}
    newest = getattr(torch._C, "_cuda_getDriverVersion", int)()  # such as 12040
    try:
        told = re.search(r"\b\d+\.\d+(\.\d+)?\b", NVIDIA.read_text(encoding="utf-8"))
    except OSError:
        told = None
    number = told[0] if told else ""
    return found | {"driver": f"{number} for CUDA {newest // 1000}.{newest % 1000 // 10}".strip() if newest else number}
