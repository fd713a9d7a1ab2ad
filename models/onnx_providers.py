"""ONNX Runtime execution providers, named as users know them.

`available()` looks at the files of the installed wheel and imports nothing, so that a list of choices costs no start-up
time; `resolve()` asks ONNX Runtime itself.
"""

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

from ..errors import FaceGenError

log = logging.getLogger(__name__)
QUIET = 3  # ONNX Runtime's severity "error": its warnings are about the files' age

# label -> (ONNX Runtime's name, what its library file is called)
PROVIDERS = {
    "CUDA": ("CUDAExecutionProvider", "onnxruntime_providers_cuda"),
    "TensorRT": ("TensorrtExecutionProvider", "onnxruntime_providers_tensorrt"),
    "ROCm": ("ROCMExecutionProvider", "onnxruntime_providers_rocm"),
    "MIGraphX": ("MIGraphXExecutionProvider", "onnxruntime_providers_migraphx"),
    "OpenVINO": ("OpenVINOExecutionProvider", "onnxruntime_providers_openvino"),
    "DirectML": ("DmlExecutionProvider", "DirectML"),
    "CoreML": ("CoreMLExecutionProvider", None),  # linked into every macOS wheel
    "CPU": ("CPUExecutionProvider", None),
}
# TensorRT compiles each model for minutes on first use, so it is never picked unasked.
AUTO_ORDER = ("CUDA", "ROCm", "MIGraphX", "DirectML", "CoreML", "OpenVINO")


def available() -> list[str]:
    """Labels of the providers that the installed ONNX Runtime carries; `auto` and `CPU` are always there."""
    found = set()
    spec = importlib.util.find_spec("onnxruntime")
    if spec is not None and spec.submodule_search_locations:
        files = [f.name for folder in spec.submodule_search_locations for f in Path(folder, "capi").glob("*")]
        found = {label for label, (_, stem) in PROVIDERS.items() if stem and any(stem in name for name in files)}
    if sys.platform == "darwin":
        found.add("CoreML")
    return ["auto", "CPU", *(label for label in PROVIDERS if label in found)]


def resolve(label: str) -> list[str]:
    """ONNX Runtime's provider names for `label`, the fallback to CPU last.

    Raises FaceGenError for a label that is not in `PROVIDERS` and not `auto`.
    """
    import onnxruntime

    if label != "auto" and label not in PROVIDERS:
        raise FaceGenError(f"Unknown provider {label!r}. Choose one of: auto, {', '.join(PROVIDERS)}.")
    offered = onnxruntime.get_available_providers()
    wanted = AUTO_ORDER if label == "auto" else (label,)
    names = [PROVIDERS[w][0] for w in wanted if PROVIDERS[w][0] in offered]
    if not names and label not in ("auto", "CPU"):
        log.warning("FaceGen: ONNX Runtime offers no %s provider (it has: %s); using the CPU.", label, ", ".join(offered))
    cpu = PROVIDERS["CPU"][0]
    return [*(n for n in names if n != cpu), cpu]


def session_options() -> Any:
    """ONNX Runtime's options for our sessions: its threads sleep while they wait. By default they spin, which takes the cores
    from whatever else runs on the machine and, beside other work, makes a picture three times slower.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
