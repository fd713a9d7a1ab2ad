"""What an identity method adds to one step: tensor operations, device syncs, memory and time, in one run.

    COMFYUI_PATH=… <python with ComfyUI's packages> tools/benchmarks/identity_overhead.py [--method METHOD] [--base sdxl]
        [--channels 320] [--size 8] [--repeat 10] [--peer ANOTHER_PACK] [--compile] [--json FILE]

The real topology with random weights, batch 2 (classifier-free guidance), in a real ComfyUI: on a GPU, where there is one,
in fp16 and at 512x512 (SD1.5) or 1024x1024 (SDXL), as many text tokens as a prompt has, and times by the GPU's own clock.
InstantID is measured over the UNet with the ControlNet that belongs to it, PuLID over SDXL or over FLUX.1 (bf16) with all its
blocks, `--channels` wide, without guidance.
`--peer` names a checkout with the interface of ComfyUI_IPAdapter_plus, or of ComfyUI_InstantID.
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
import identity_ways  # noqa: E402
import results  # noqa: E402
import torch  # noqa: E402

from counting import Count, live  # noqa: E402
from pack import load_pack  # noqa: E402

CUDA = torch.cuda.is_available()
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
RUNS = 20  # after which no more memory may be taken than after the first
COLUMNS = {"operations": 12, "syncs": 8, "MB held": 10, "MB more": 10, "seconds": 10, "ratio": 8, "applied in": 12}
PATIENCE = 120.0  # seconds that --after waits at most
comfy.cli_args.args.cpu = not CUDA


def count(call):
    """(operations, syncs) of a warmed-up call."""
    call()
    with Count() as counted:
        call()
    return len(counted.names), counted.syncs


def timed(call):
    """Seconds of one call, on a GPU between two marks in its own queue."""
    if not CUDA:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def seconds(calls, rounds):
    """Times of each call, [rounds] each. The calls take turns, every other round backwards, so that a busy machine slows all
    of them alike."""
    times = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in list(calls.items())[:: -1 if number % 2 else 1]:
            times[name].append(timed(call))
    return times


def peak(call):
    """Bytes that a call takes on the GPU at most, beside what was there before; None on a CPU."""
    if not CUDA:
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def growth(call):
    """Bytes in tensors after the first of RUNS calls and after the last."""

    def taken():
        call()
        if not CUDA:
            return live()[1]
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    taken_after = [taken() for _ in range(RUNS)]
    return taken_after[0], taken_after[-1]


def measure(options, ways, applied):
    """One dict for each way, by name."""
    rows = {}
    for name, way in ways.items():
        if options.compile:
            way.call(), way.call()
            operations, syncs = None, None
        else:
            operations, syncs = count(way.call)
        took = applied.get(name)
        rows[name] = {"operations": operations, "syncs": syncs, "held": way.held(), "peak": peak(way.call), "applied": took}
    patched = list(ways)[1]
    rows[patched]["grown"] = growth(ways[patched].call)
    wait_for(options.after)
    times = seconds({name: way.call for name, way in ways.items()}, options.repeat)
    for name, row in rows.items():
        row["seconds"] = statistics.median(times[name])
        row["ratio"] = statistics.median(own / plain for own, plain in zip(times[name], times["plain"], strict=True))
    return rows


def wait_for(file):
    """Until `file` is there, so that nothing else runs while it counts; in vain after a while."""
    began = time.monotonic()
    while file is not None and not file.exists() and time.monotonic() - began < PATIENCE:
        time.sleep(0.2)


def report(options, rows, again):
    device = torch.cuda.get_device_name() if CUDA else "CPU"
    shape = f"{options.channels} channels, latent {options.size}x{options.size}, {options.tokens} text tokens"
    shape += f", batch {options.batch}, {options.repeat} rounds{f', compiled by {options.compile}' if options.compile else ''}"
    lines = [f"{options.base} topology, {shape}, torch {torch.__version__}, {device}, {options.precision}"]
    lines.append(" " * 26 + "".join(f"{head:>{width}}" for head, width in COLUMNS.items()))
    plain = rows["plain"]
    for name, row in rows.items():
        sign, base = ("", dict.fromkeys(row, 0)) if name == "plain" else ("+", plain)
        extra, waits = ("" if row[k] is None else f"{sign}{row[k] - base[k]}" for k in ("operations", "syncs"))
        most = "" if row["peak"] is None else f"{row['peak'] / 1e6:.1f}"
        took = "" if row["applied"] is None else f"{row['applied']:.2f} s"
        line = f"{name:26}{extra:>12}{waits:>8}{row['held'] / 1e6:>10.2f}{most:>10}"
        lines.append(line + f"{row['seconds']:>10.4f}{row['ratio']:>8.3f}{took:>12}")
        if "grown" in row:
            first, last = row["grown"]
    lines.append(f"{identity_ways.AGAIN}: applied in {again:.3f} s")
    lines.append(f"in tensors after 1 and after {RUNS} runs: {first / 1e6:.3f} and {last / 1e6:.3f} MB")
    sys.stdout.write("\n".join(lines) + "\n")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=tuple(BASES), default="faceid")
    parser.add_argument("--base", choices=("sd15", "sdxl", "flux"), help="whose topology; default: the method's first of these")
    parser.add_argument("--channels", type=int, default=320, help="width of the network; both UNets have 320, FLUX.1 3072")
    parser.add_argument("--size", type=int, help="latent side; default: 8 on a CPU, 64 or 128 on a GPU")
    parser.add_argument("--tokens", type=int, help="of the text; default: 7 on a CPU, 77 or 512 on a GPU")
    parser.add_argument("--precision", choices=tuple(DTYPES), help="default: fp32 on a CPU, fp16 or bf16 (FLUX.1) on a GPU")
    parser.add_argument("--repeat", type=int, default=10, help="rounds; the ratio is the median over them")
    parser.add_argument("--compile", nargs="?", const="inductor", help="by torch.compile and this backend; for FaceID")
    parser.add_argument("--after", type=Path, help="start the clock only once this file is there")
    parser.add_argument("--peer", type=Path, help="checkout of another pack, measured in the same run")
    parser.add_argument("--json", type=Path, help="file that gets a line with all figures")
    options = parser.parse_args()
    bases = BASES[options.method]
    options.base = options.base or bases[0]
    if options.base not in bases:
        parser.error(f"--method {options.method} is for {' or '.join(bases)}, not for {options.base}.")
    if options.compile and options.method != "faceid":
        parser.error("--compile is measured with --method faceid.")
    flux = options.base == "flux"
    options.size = options.size or ((64 if options.base == "sd15" else 128) if CUDA else 8)
    options.tokens = options.tokens or ((512 if flux else 77) if CUDA else 7)
    options.precision = options.precision or (("bf16" if flux else "fp16") if CUDA else "fp32")
    options.dtype, options.batch = DTYPES[options.precision], 1 if flux else 2
    return options


BASES = {"faceid": ("sd15", "sdxl"), "instantid": ("sdxl",), "pulid": ("flux", "sdxl")}


def main():
    options = parse()
    load_pack()
    if options.compile:
        import torch._dynamo.config as dynamo

        dynamo.recompile_limit = 64  # where the host's attention can't be compiled in one piece, each block is by itself
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, torch.inference_mode():
        ways, applied = getattr(identity_ways, options.method)(options, Path(folder))
        rows = measure(options, ways, applied)
    report(options, rows, applied[identity_ways.AGAIN])
    told = {k: getattr(options, k) for k in ("base", "channels", "size", "tokens", "batch", "precision", "compile", "repeat")}
    results.keep(options.json, "overhead", method=options.method, **told, rows=rows)


if __name__ == "__main__":
    main()
