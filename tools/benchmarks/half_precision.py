"""How near FaceID in half precision comes to float32, beside diffusers' own FaceID in the same half precision, in one run.

    COMFYUI_PATH=… <python with the tests' packages> tools/benchmarks/half_precision.py [--base sdxl] [--channels 320]
        [--size 32] [--json FILE]

A random UNet and adapter, two faces, the adapter's LoRA and all; on a GPU, where there is one. The reference is diffusers in
float32 with the same weights. Errors are those of the whole prediction, |given - reference| / |reference|.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
SUPPORT = [str(ROOT / "tests" / "support" / folder) for folder in ("", "comfyui")]
sys.path[:0] = [os.environ["COMFYUI_PATH"], *SUPPORT, str(ROOT / "tools" / "benchmarks")]

import comfy.cli_args  # noqa: E402
import results  # noqa: E402
import torch  # noqa: E402

from pack import load_pack  # noqa: E402

comfy.cli_args.args.cpu = not torch.cuda.is_available()
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Case:
    """A UNet's inputs, an adapter's tensors and the faces."""

    def __init__(self, options, folder):
        import comfy_unets
        from facegen.models.identity.faceid.adapter import FaceIDAdapter
        from faceid_files import faceid_state, random_faces, save

        xl = options.base == "sdxl"
        self.build, self.channels = comfy_unets.sdxl if xl else comfy_unets.sd15, options.channels
        widths = [options.channels * m for m in (comfy_unets.XL_MULTIPLIERS if xl else comfy_unets.MULTIPLIERS)]
        self.state = faceid_state(widths, 2048 if xl else 768, rank=4, **({"clip_dim": None} if xl else {}))
        self.adapter, self.faces = FaceIDAdapter(save(self.state, folder / "adapter.safetensors")), random_faces(2, clip=1280)
        sizes = {"size": options.size, "tokens": options.tokens}
        self.given = comfy_unets.xl_inputs(**sizes) if xl else comfy_unets.Inputs(*comfy_unets.inputs(**sizes))

    def ours(self, dtype):
        import comfy_unets
        from facegen.nodes.host.sampling.methods.faceid import apply_faceid

        model = self.build(dtype=dtype, channels=self.channels)
        patched = apply_faceid(model, self.adapter, self.faces, weight=0.8, lora_strength=1.0)
        return comfy_unets.predict(patched, self.given.x, self.given.context, y=self.given.y)

    def diffusers(self, weights, dtype):
        """By diffusers in `dtype`, on a UNet whose weights were rounded to `weights`."""
        import comfy_unets

        model = self.build(dtype=weights, channels=self.channels)
        oracle = comfy_unets.Diffusers(model, self.state, dtype=dtype)
        del model
        return oracle.predict(self.faces, self.given, weight=0.8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=("sd15", "sdxl"), default="sd15", help="whose topology")
    parser.add_argument("--channels", type=int, default=320, help="width of the UNet; both have 320")
    parser.add_argument("--size", type=int, default=32, help="latent side")
    parser.add_argument("--tokens", type=int, default=77, help="of the text")
    parser.add_argument("--json", type=Path, help="file that gets a line with all figures")
    options = parser.parse_args()
    load_pack()
    import logging

    from faceid_files import relative_error

    logging.disable(logging.WARNING)  # of libraries, about each other
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    sys.stdout.write(f"{options.base}, {options.channels} channels, torch {torch.__version__}, {results.card()}\n")
    sys.stdout.write(f"{'':6}{'ours':>12}{'diffusers':>12}{'ratio':>8}\n")
    errors = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, torch.inference_mode():
        case = Case(options, Path(folder))
        for name, dtype in DTYPES.items():
            exact = case.diffusers(dtype, torch.float32)
            ours = relative_error(case.ours(dtype), exact)
            theirs = relative_error(case.diffusers(dtype, dtype), exact) if dtype != torch.float32 else None
            errors[name] = {"ours": ours, "diffusers": theirs}
            beside = "" if theirs is None else f"{theirs:>12.2e}{ours / theirs:>8.2f}"
            sys.stdout.write(f"{name:6}{ours:>12.2e}{beside}\n")
            sys.stdout.flush()
    told = {k: getattr(options, k) for k in ("base", "channels", "size", "tokens")}
    results.keep(options.json, "exactness", **told, errors=errors)


if __name__ == "__main__":
    main()
