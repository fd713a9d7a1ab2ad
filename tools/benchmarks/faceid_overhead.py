"""What FaceID adds to one UNet call over plain sampling: tensor operations, device syncs, memory and wall time, in one run.

    COMFYUI_PATH=… <python with ComfyUI's packages> tools/benchmarks/faceid_overhead.py [--base sdxl] [--channels 320]
        [--size 8] [--repeat 10] [--peer ANOTHER_PACK]

The real topology with random weights, batch 2 (classifier-free guidance), in a real ComfyUI: on a GPU, where there is one,
in fp16 and at 512x512 (SD1.5) or 1024x1024 (SDXL). `--peer` names a checkout with the interface of ComfyUI_IPAdapter_plus.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
SUPPORT = [str(ROOT / "tests" / "support" / folder) for folder in ("", "comfyui")]
sys.path[:0] = [os.environ["COMFYUI_PATH"], *SUPPORT, str(ROOT / "tools" / "benchmarks")]

import comfy.cli_args  # noqa: E402
import torch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from pack import load_pack  # noqa: E402

CUDA = torch.cuda.is_available()
comfy.cli_args.args.cpu = not CUDA
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
            if CUDA:
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    return times


def held(patcher):
    """Bytes of the tensors that can be reached from the model's attention patches, each storage once."""
    seen, sizes = set(), {}
    todo = [patcher.model_options["transformer_options"].get("patches_replace", {})]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            storage = thing.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(thing, dict):
            todo.extend(thing.values())
        elif isinstance(thing, (list, tuple, set)):
            todo.extend(thing)
        elif hasattr(thing, "__dict__"):
            todo.extend(vars(thing).values())
    return sum(sizes.values())


def variants(options, folder):
    """name -> model with FaceID in that way, and how long the first took to apply; then the UNet call of a model."""
    import comfy_unets
    from facegen.models.face.embeds import FaceEmbeds
    from facegen.models.identity.faceid.adapter import FaceIDAdapter
    from facegen.nodes.host.sampling.methods.faceid import apply_faceid
    from faceid_files import faceid_state, save

    xl = options.base == "sdxl"
    dtype = torch.float16 if CUDA else torch.float32
    model = (comfy_unets.sdxl if xl else comfy_unets.sd15)(channels=options.channels, dtype=dtype)
    widths = [options.channels * m for m in (comfy_unets.XL_MULTIPLIERS if xl else comfy_unets.MULTIPLIERS)]
    state = faceid_state(widths, 2048 if xl else 768, 1280, rank=1)
    state = {part: {name: t.to(dtype) for name, t in tensors.items()} for part, tensors in state.items()}
    adapter = FaceIDAdapter(save(state, folder / "adapter.safetensors"))
    faces = [FaceEmbeds(torch.randn(1, 512), torch.randn(1, 257, 1280), torch.randn(1, 257, 1280)) for _ in range(2)]

    began = time.perf_counter()
    models = {"plain": model, "FaceID": apply_faceid(model, adapter, faces[0], lora_strength=0)}
    applied = {"FaceID": time.perf_counter() - began}
    began = time.perf_counter()
    apply_faceid(model, adapter, faces[0], lora_strength=0, s_scale=0.5)
    applied["FaceID, another s_scale"] = time.perf_counter() - began
    models["FaceID, percent range"] = apply_faceid(model, adapter, faces[0], lora_strength=0, percent_range=(0.0, 0.8))
    models["FaceID, mask"] = apply_faceid(model, adapter, faces[0], lora_strength=0, mask=torch.rand(1, 64, 64))
    models["FaceID, two faces"] = apply_faceid(models["FaceID"], adapter, faces[1], lora_strength=0)
    if options.peer:
        import peer_pack

        began = time.perf_counter()
        models[options.peer.name] = peer_pack.apply(options.peer, model, state, faces[0])
        applied[options.peer.name] = time.perf_counter() - began

    given = comfy_unets.xl_inputs(size=options.size) if xl else comfy_unets.Inputs(*comfy_unets.inputs(size=options.size))
    y = given.y
    return models, applied, lambda patcher: comfy_unets.caller(patcher, given.x, given.context, y=y)


def report(options, counts, times, memory, applied):
    device = f"{torch.cuda.get_device_name()}, fp16" if CUDA else "CPU, fp32"
    shape = f"{options.channels} channels, latent {options.size}x{options.size}, batch 2, {options.repeat} rounds"
    lines = [f"{options.base} topology, {shape}, torch {torch.__version__}, {device}"]
    lines.append(f"{'':26}{'operations':>12}{'syncs':>8}{'MB held':>10}{'seconds':>10}{'ratio':>8}{'applied in':>12}")
    for name, (operations, syncs) in counts.items():
        sign, base = ("", (0, 0)) if name == "plain" else ("+", counts["plain"])
        ratio = statistics.median(own / plain for own, plain in zip(times[name], times["plain"], strict=True))
        extra, waits = f"{sign}{operations - base[0]}", f"{sign}{syncs - base[1]}"
        took = f"{applied[name]:.2f} s" if name in applied else ""
        median = statistics.median(times[name])
        lines.append(f"{name:26}{extra:>12}{waits:>8}{memory[name] / 1e6:>10.2f}{median:>10.4f}{ratio:>8.3f}{took:>12}")
    lines.append(f"another s_scale applied in {applied['FaceID, another s_scale']:.3f} s")
    sys.stdout.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=("sd15", "sdxl"), default="sd15", help="whose topology")
    parser.add_argument("--channels", type=int, default=320, help="width of the UNet; both have 320")
    parser.add_argument("--size", type=int, help="latent side; default: 8 on a CPU, 64 or 128 on a GPU")
    parser.add_argument("--repeat", type=int, default=10, help="rounds; the ratio is the median over them")
    parser.add_argument("--peer", type=Path, help="checkout of another FaceID pack, measured in the same run")
    options = parser.parse_args()
    options.size = options.size or ((128 if options.base == "sdxl" else 64) if CUDA else 8)
    load_pack()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, torch.inference_mode():
        models, applied, call = variants(options, Path(folder))
        calls = {name: call(model) for name, model in models.items()}
        counts = {name: count(each) for name, each in calls.items()}
        memory = {name: held(model) for name, model in models.items()}
        report(options, counts, seconds(calls, options.repeat), memory, applied)


if __name__ == "__main__":
    main()
