"""What embedding a photo costs beside InsightFace's own app.get on the same two models, in one run.

    <python with the pack's packages> tools/benchmarks/face_embedding.py [--pack FOLDER] [--repeat 10] [--size 1024]
        [--provider CUDA] [--json FILE]

Without --pack, ONNX files of InsightFace's signatures are made that cost about as much as buffalo_l's (some 10 GFLOP for
the detector at 640 pixels, 6 for the recogniser) with random weights. Marks: at most 1.10 for a photo, a hundredth of it
for the same photo again, and 16 photos in a batch no dearer than 16 singles.
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tools" / "benchmarks")]

import numpy as np  # noqa: E402
import results  # noqa: E402
import torch  # noqa: E402

from pack import load_pack  # noqa: E402

warnings.simplefilter("ignore", FutureWarning)  # of libraries, about each other


def turns(calls, rounds):
    """(wall, processor) seconds of each call, [rounds] each.

    They take turns, and every other round goes backwards, so that a busy machine slows all alike.
    """
    times = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in list(calls.items())[:: 1 if number % 2 else -1]:
            wall, processor = time.perf_counter(), time.process_time()
            call(number)
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return times


def ratio(mine, theirs, kind):
    """Median over the rounds of mine to theirs; kind 0: wall time, 1: processor time, which a busy machine hardly moves."""
    return statistics.median(a[kind] / b[kind] for a, b in zip(mine, theirs, strict=True))


def photos(size, count):
    """Different photos of one size: the astronaut, [count, size, size, 3] (0-1), each a little brighter."""
    from PIL import Image
    from skimage import data

    rgb = np.asarray(Image.fromarray(data.astronaut()).resize((size, size))).astype(np.int16)
    return torch.stack([torch.from_numpy((rgb + number).clip(0, 255).astype(np.float32) / 255) for number in range(count)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, help="folder with a real model pack; default: made up, of the same cost")
    parser.add_argument("--size", type=int, default=1024, help="side of the photos in pixels")
    parser.add_argument("--repeat", type=int, default=10, help="rounds; the ratio is the median over them")
    parser.add_argument("--provider", default="CPU", help="ONNX Runtime's, such as CUDA; without it nothing is measured")
    parser.add_argument("--json", type=Path, help="file that gets a line with all figures")
    options = parser.parse_args()

    load_pack()
    import insightface.app
    import onnxruntime

    from facegen.models import onnx_providers
    from facegen.models.face import analysis
    from facegen.models.face.photo_to_embeds import embed_photos

    providers, offered = onnx_providers.resolve(options.provider), onnxruntime.get_available_providers()
    if onnx_providers.PROVIDERS[options.provider][0] not in offered:
        skipped = f"ONNX Runtime {onnxruntime.__version__} here has {', '.join(offered)}, and not {options.provider}"
        print(f"skipped: {skipped}")
        results.keep(options.json, "embedding", skipped=skipped)
        return

    with tempfile.TemporaryDirectory() as scratch:
        folder = options.pack
        if folder is None:
            from onnx_files import save_heavy_pack

            folder = save_heavy_pack(Path(scratch) / "heavy", [(0.35, 0.12, 0.55, 0.38, 0.95)])
        app = insightface.app.FaceAnalysis(name=str(folder), allowed_modules=["detection", "recognition"], providers=providers)
        app.prepare(ctx_id=0)
        face_analysis = analysis.FaceAnalysis(folder, options.provider)
        pictures = photos(options.size, 16)
        arrays = [analysis.to_bgr(picture) for picture in pictures]

        def ours(number, forget=True, which=slice(0, 1)):
            if forget:
                analysis._cache.clear()
            embed_photos(face_analysis, pictures[which] if which.stop > 1 else pictures[number % 16][None])

        def singles(_):
            for number in range(16):
                ours(number)

        calls = {
            "app.get": lambda number: app.get(arrays[number % 16]),
            "embed a photo": ours,
        }
        for call in calls.values():
            call(0)
        times = turns(calls, options.repeat)
        ours(0)
        times |= turns({"the same photo again": lambda _: ours(0, forget=False)}, options.repeat)
        print(f"{options.size}x{options.size} photo, {folder.name}, {options.provider}; median of {options.repeat} rounds")
        rows = {}
        for name, seconds in times.items():
            wall, processor = (ratio(seconds, times["app.get"], kind) for kind in (0, 1))
            took = 1000 * statistics.median(s[0] for s in seconds)
            rows[name] = {"ms": took, "ratio": wall}
            print(f"{name:24} {took:8.1f} ms   ratio of wall time {wall:.3f}   of processor time {processor:.3f}")
        results.keep(options.json, "embedding", size=options.size, provider=options.provider, rows=rows)
        rounds = turns({"singles": singles, "batch": lambda _: ours(0, which=slice(0, 16))}, max(2, options.repeat // 5))
        wall, processor = (ratio(rounds["batch"], rounds["singles"], kind) for kind in (0, 1))
        print(f"{'batch of 16 / 16 singles':24} {'':11}   ratio of wall time {wall:.3f}   of processor time {processor:.3f}")


if __name__ == "__main__":
    main()
