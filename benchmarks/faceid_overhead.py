"""What FaceID adds to one UNet call over plain sampling: tensor operations, device syncs and wall time, in one run.

    COMFYUI_PATH=… <python with ComfyUI's packages> benchmarks/faceid_overhead.py [--channels 320] [--size 8] [--repeat 10]

SD1.5's topology with random weights, batch 2 (classifier-free guidance), in a real ComfyUI. Marks for SD1.5: at most 200
extra operations and no sync.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "benchmarks")]
sys.path[:0] = [os.environ["COMFYUI_PATH"], str(ROOT / "tests" / "support")]

import comfy.cli_args  # noqa: E402
import torch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

comfy.cli_args.args.cpu = not torch.cuda.is_available()
SYNCS = {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}


class Operations(TorchDispatchMode):
    """Counts what reaches the dispatcher, views included, and what waits for the device."""

    def __init__(self):
        super().__init__()
        self.count = self.syncs = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        out = func(*args, **(kwargs or {}))
        name = func._schema.name
        moved = name == "aten::_to_copy" and isinstance(args[0], torch.Tensor) and out.device != args[0].device
        self.syncs += name in SYNCS or moved
        return out


def count(call):
    """(operations, syncs) of a warmed-up call."""
    call()
    with Operations() as operations:
        call()
    return operations.count, operations.syncs


def seconds(calls, rounds):
    """Wall times of each call, [rounds] each. The calls take turns, so that a busy machine slows all of them alike."""
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=320, help="width of the UNet; SD1.5 has 320")
    parser.add_argument("--size", type=int, default=8, help="latent side; 64 for a 512x512 picture")
    parser.add_argument("--repeat", type=int, default=10, help="rounds; the ratio is the median over them")
    options = parser.parse_args()

    spec = importlib.util.spec_from_file_location("facegen", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    sys.modules["facegen"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    import comfy_unets
    from facegen.models.face_embeds import FaceEmbeds
    from facegen.models.faceid_adapter import FaceIDAdapter
    from facegen.nodes.faceid_patch import apply_faceid
    from faceid_files import faceid_state, save

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        model = comfy_unets.sd15(channels=options.channels)
        widths = [options.channels * m for m in comfy_unets.MULTIPLIERS]
        adapter = FaceIDAdapter(save(faceid_state(widths, 768, 1280, rank=0), Path(folder) / "adapter.safetensors"))
        faces = FaceEmbeds(torch.randn(1, 512), torch.randn(1, 257, 1280), torch.randn(1, 257, 1280))
        began = time.perf_counter()
        variants = {"plain": model, "FaceID": apply_faceid(model, adapter, faces)}
        applied = time.perf_counter() - began
        variants["FaceID, percent range"] = apply_faceid(model, adapter, faces, percent_range=(0.0, 0.8))
        variants["two faces"] = apply_faceid(variants["FaceID"], adapter, faces)
        x, context = comfy_unets.inputs(size=options.size)
        calls = {name: comfy_unets.caller(m, x, context) for name, m in variants.items()}
        counts = {name: count(call) for name, call in calls.items()}
        times = seconds(calls, options.repeat)

    device = "CUDA" if torch.cuda.is_available() else "CPU"
    shape = f"{options.channels} channels, latent {options.size}x{options.size}, batch 2"
    sys.stdout.write(f"SD1.5 topology, {shape}, torch {torch.__version__}, {device}; applied in {applied:.2f} s\n")
    sys.stdout.write(f"{'':24}{'operations':>12}{'syncs':>8}{'seconds':>10}{'ratio':>8}\n")
    for name, (operations, syncs) in counts.items():
        sign, base = ("", (0, 0)) if name == "plain" else ("+", counts["plain"])
        ratio = statistics.median(own / plain for own, plain in zip(times[name], times["plain"], strict=True))
        extra, waits = f"{sign}{operations - base[0]}", f"{sign}{syncs - base[1]}"
        sys.stdout.write(f"{name:24}{extra:>12}{waits:>8}{statistics.median(times[name]):>10.4f}{ratio:>8.3f}\n")


if __name__ == "__main__":
    main()
