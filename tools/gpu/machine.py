"""What the machine has, for the first lines of a measurement: python tools/gpu/machine.py FIGURES"""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import results
import torch

PACKAGES = ("torch", "triton", "numpy", "transformers", "diffusers", "onnxruntime", "insightface", "comfy-aimdo")


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def driver() -> str:
    """As nvidia-smi tells it, or why it doesn't."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"


def gpu() -> dict[str, object]:
    if not torch.cuda.is_available():
        return {"gpu": "none"}
    made = torch.cuda.get_device_properties(0)
    found = {"gpu": made.name, "gpus": torch.cuda.device_count(), "gpu memory": f"{made.total_memory / 2**30:.1f} GiB"}
    return {**found, "driver": driver(), "CUDA": torch.version.cuda}


def main() -> None:
    import onnxruntime

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {
        **gpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{memory:.0f} GiB",
        "Python": platform.python_version(),
        "packages": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
        "ONNX Runtime on": ", ".join(onnxruntime.get_available_providers()),
    }
    for name, value in found.items():
        sys.stdout.write(f"{name}: {value}\n")
    results.keep(Path(sys.argv[1]), "machine", found=found)


if __name__ == "__main__":
    main()
