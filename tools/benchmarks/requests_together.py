"""Pictures a minute of the embedded engine when requests are sampled together, beside one after the other, in one run.

    <python with the tests' packages> tools/benchmarks/requests_together.py [--batches 2 4 8] [--width 512] [--height 512]
        [--steps 21] [--channels 320] [--seconds 20] [--queued 64] [--clock processor] [--small] [--json FILE]

SD1.5's networks and FaceID-PlusV2 with random weights, in half precision on a GPU, where there is one: from prompts and faces
to pictures in memory, each request with a face, prompt, seed and face-structure weight of its own. Photos, safety checker,
likeness and files are left out: those cost each request the same, whoever is sampled with it. The ways take turns for
`--seconds`, a round at least, each with one batch; the ratio is the median over the rounds. What the pictures differ by from
those made alone is told, too. Last comes the queue of `serve`, in which `--queued` requests wait: one after the other, and as
many at once as it finds to pay while it makes them; its trials count, but a GPU has chosen its kernels by then. The queue reads
a photo and writes a PNG for each. `--small` is for a try on a CPU.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tools" / "benchmarks")]

import results  # noqa: E402

from pack import load_pack  # noqa: E402

CUDA = torch.cuda.is_available()
COMPARED = 2  # pictures of each batch, with those made alone
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
DEVICE = torch.device("cuda" if CUDA else "cpu")
DTYPE = torch.float16 if CUDA else torch.float32
SD15 = 320  # channels of its UNet
CONTEXT, CLIP, RANK = 768, 1280, 128
COLUMNS = {"together": 9, "pictures/min": 14, "ratio": 8, "GB": 7, "differ by": 11}


def engine(options, folder):
    """An Engine as far as `generate` goes, for requests without a safety checker."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from facegen.models.identity.faceid.adapter import FaceIDAdapter
    from facegen.standalone.checkpoints.clip_tokenizer import LENGTH, clip_merges, save_tokenizer
    from facegen.standalone.engine import Engine
    from facegen.standalone.sampling.stable_diffusion import StableDiffusion
    from faceid_files import SD15_WIDTHS, faceid_state, save

    small = options.small
    clip = {"hidden_size": CONTEXT, "intermediate_size": 4 * CONTEXT, "num_attention_heads": 12, "hidden_act": "quick_gelu"}
    clip |= {"num_hidden_layers": 2 if small else 12, "projection_dim": CONTEXT}
    latent = [32 if small else channels for channels in (128, 256, 512, 512)]
    torch.manual_seed(0)
    with DEVICE:
        unet = diffusers.UNet2DConditionModel(
            block_out_channels=[options.channels * factor for factor in (1, 2, 4, 4)],
            cross_attention_dim=CONTEXT,
            attention_head_dim=8,
        )
        text_encoder = CLIPTextModel(CLIPTextConfig(**clip, bos_token_id=49406, eos_token_id=49407))
        vae = diffusers.AutoencoderKL(
            block_out_channels=latent,
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            layers_per_block=2,
            scaling_factor=0.18215,
        )
    save_tokenizer(folder / "tokenizer", clip_merges())
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True, model_max_length=LENGTH)
    networks = [network.to(DTYPE).eval() for network in (unet, text_encoder, vae)]
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    scheduler = diffusers.DPMSolverMultistepScheduler(**noise, use_karras_sigmas=True)
    widths = [width * options.channels // SD15 for width in SD15_WIDTHS]
    state = faceid_state(widths, CONTEXT, CLIP, rank=8 if small else RANK)
    made = Engine.__new__(Engine)
    made.checker = made.flux_face = made.controlnet = None
    made.adapter = FaceIDAdapter(save(state, folder / "ip-adapter-faceid-plusv2_sd15.safetensors"))
    made.checkpoint = StableDiffusion(_Kind(), [tokenizer], [networks[1]], networks[0], networks[2], scheduler)
    return made


class _Kind:
    base = "SD1.5"


def requests(options, count):
    """Each with what may differ within a batch."""
    from facegen.contract import FaceGenRequest
    from facegen.models.tiny_files import DRAWN_FACE, TINY
    from facegen.standalone.asked import Asked
    from faceid_files import random_faces

    def one(number):
        asked = FaceGenRequest(
            face_image=str(TINY / DRAWN_FACE),
            prompt=f"portrait number {number}",
            width=options.width,
            height=options.height,
            num_inference_steps=options.steps,
            s_scale=0.5 + number / count,
            seed=number,
            safety_checker=False,
        )
        return Asked(asked, random_faces(1, clip=CLIP, seed=number))

    return [one(number) for number in range(count)]


def made(engine, asked, together, clock=time.perf_counter):
    """The pictures of all, so many requests at once; the seconds that they took."""
    began = clock()
    pictures = [
        result.images
        for start in range(0, len(asked), together)
        for result in engine.generate_together(asked[start : start + together])
    ]
    return torch.cat(pictures), clock() - began  # they are on the CPU, so all is done


def measure(options, engine, asked):
    """(one dict for each way, by how many are made together; how many rounds there were)"""
    ways = [1, *options.batches]
    rows, alone = {}, None
    for together in ways:  # once for the kernels to be chosen, and to compare the pictures
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        pictures = made(engine, asked[: max(together, COMPARED)], together)[0][:COMPARED]
        differ = None if alone is None else (pictures - alone).abs().max().item()
        alone = pictures if alone is None else alone
        rows[together] = {"gb": torch.cuda.max_memory_allocated() / 1e9 if CUDA else None, "differ": differ}
        say(options, f"{together} at once are warm")
    seconds = {together: [] for together in ways}  # of a picture
    began = time.monotonic()
    while not seconds[ways[-1]] or time.monotonic() - began < options.seconds:
        for together in ways[:: -1 if len(seconds[1]) % 2 else 1]:
            took = made(engine, asked[:together], together, CLOCKS[options.clock])[1]
            seconds[together].append(took / together)
        say(options, f"round {len(seconds[1])}")
    for together, row in rows.items():
        row["per_minute"] = 60 / statistics.median(seconds[together])
        row["ratio"] = statistics.median(one / own for one, own in zip(seconds[1], seconds[together], strict=True))
    return rows, len(seconds[1])


def queued(options, engine, asked):
    """Pictures a minute of the queue of `serve` -> how many were made at once; one after the other, and as many as pay."""
    from facegen.standalone.server import made as made_module
    from facegen.standalone.server.queue.room import MeasuredRoom, Room

    made_module.likenesses = lambda images, *_: [NoLikeness] * len(images)
    faces = {one.request.seed: one.face_embeds for one in asked}
    rates = {}
    for name, room in (("one", Room()), ("as many as pay", MeasuredRoom())):
        batches, seconds = served(Queued(engine, faces), room, asked, CLOCKS[options.clock])
        rates[name] = {"per_minute": 60 * len(asked) / seconds, "batches": batches}
        say(options, f"{len(asked)} requests that wait, {name} at once: done")
    return rates


class NoLikeness:
    percent = None


class Queued:
    """The engine, with faces by themselves in place of photos; `batches`: the sizes of those that it made."""

    face_analysis = None

    def __init__(self, engine, faces):
        self._engine, self._faces, self.batches = engine, faces, []

    def embed(self, photo):
        return None, None

    def generate_together(self, asked, watch):
        from facegen.standalone.asked import Asked

        self.batches.append(len(asked))
        faced = [Asked(one.request, self._faces[one.request.seed]) for one in asked]
        return self._engine.generate_together(faced, watch=watch)


def served(engine, room, asked, clock):
    """(the sizes of the batches, the seconds until all requests were done)"""
    from engine_works import TINY_FLAVOUR, ended
    from facegen.api.local.backend import Phase, Work
    from facegen.standalone.server.backend import EngineBackend
    from facegen.standalone.server.engines import Engines

    async def run():
        backend = EngineBackend(Engines(None, lambda files: engine), None, room)
        flavour = replace(TINY_FLAVOUR, render_scale=1.0, guidance_factor=1.0)
        works = [Work(str(number), one.request, flavour) for number, one in enumerate(asked)]
        began = clock()
        for one in works:
            await backend.start(one)
        states = await ended(backend, *works, within=3600)
        seconds = clock() - began
        await backend.close()
        failed = [state.message for state in states if state.phase is not Phase.DONE]
        if failed:
            raise SystemExit(failed[0])
        return engine.batches, seconds

    return asyncio.run(run())


def say(options, what):
    """When it came about, for whoever has little time."""
    sys.stdout.write(f"{time.monotonic() - options.began:6.1f} s: {what}\n")
    sys.stdout.flush()


def report(options, rows, rounds, rates):
    shape = f"{options.channels} channels, {options.width}x{options.height}, {options.steps} steps, {rounds} rounds"
    machine = f"torch {torch.__version__}, {results.card()}, {str(DTYPE).removeprefix('torch.')}, {options.clock} time"
    lines = [f"SD1.5 topology with FaceID-PlusV2, {shape}, {machine}"]
    lines.append("".join(f"{head:>{width}}" for head, width in COLUMNS.items()))
    for together, row in rows.items():
        most, differ = ("" if row[key] is None else f"{row[key]:{form}}" for key, form in (("gb", ".2f"), ("differ", ".1e")))
        lines.append(f"{together:>9}{row['per_minute']:>14.1f}{row['ratio']:>8.3f}{most:>7}{differ:>11}")
    one, pays = rates["one"]["per_minute"], rates["as many as pay"]["per_minute"]
    batches = " ".join(map(str, rates["as many as pay"]["batches"]))
    lines.append(f"{options.queued} requests that wait in the queue of serve: {one:.1f} pictures a minute one after the other,")
    lines.append(f"{pays:.1f} with as many at once as pay, which is {pays / one:.2f} times as many; batches of {batches}")
    sys.stdout.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8], help="how many requests together, beside one")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--steps", type=int, default=21, help="as the contract has them")
    parser.add_argument("--channels", type=int, default=SD15, help="of the UNet's first level; a multiple of 32")
    parser.add_argument("--seconds", type=float, default=20, help="how long is measured, by whole rounds")
    parser.add_argument("--queued", type=int, default=64, help="how many requests wait in the queue of serve")
    parser.add_argument(
        "--clock", choices=tuple(CLOCKS), default="wall", help="on a busy machine the processor's own is steadier"
    )
    parser.add_argument("--small", action="store_true", help="32 channels, 64x64 pixels, small text encoder and VAE")
    parser.add_argument("--json", type=Path, help="file that gets a line with all figures")
    options = parser.parse_args()
    if options.small:
        options.channels, options.width, options.height = 32, 64, 64
    options.began = time.monotonic()
    load_pack()
    import logging

    logging.disable(logging.WARNING)  # of libraries, about each other
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        networks = engine(options, Path(folder))
        say(options, "networks are there")
        asked = requests(options, max(options.queued, *options.batches))
        rows, rounds = measure(options, networks, asked[: max(options.batches)])
        rates = queued(options, networks, asked[: options.queued])
    report(options, rows, rounds, rates)
    told = {k: getattr(options, k) for k in ("channels", "width", "height", "steps", "clock")}
    results.keep(
        options.json, "together", **told, precision=str(DTYPE).removeprefix("torch."), rounds=rounds, rows=rows, rates=rates
    )


if __name__ == "__main__":
    main()
