"""Pictures per second of each safety checker and of the loop that its own library documents, in one run.

    <python with the tests' packages> tools/benchmarks/safety_throughput.py [--side 512] [--batches 1 16]
        [--rounds 5] [--small] [--json FILE]

Both get the same batch of float pictures as ComfyUI has it, and both give verdicts. NudeNet runs with its real model; the
Stable Diffusion safety checker (CLIP ViT-L/14) and the classifier (ViT-B/16) in their real sizes with random weights. The
calls take turns, so that a busy machine slows both alike; the ratio is the median over the rounds. With `--small`, the two
have two layers.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tools" / "benchmarks")]

import results  # noqa: E402

from pack import load_pack  # noqa: E402

CHECKERS = ("nudenet", "concepts", "classifier")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def levels(images):
    return (images * 255).round().clamp(0, 255).byte().numpy()


def nudenet(folder, device, small):
    from nudenet import NudeDetector

    from facegen.models.safety.load import load_checker

    detector, ours = NudeDetector(), load_checker("nudenet", "CPU")

    def library(images):
        return [detector.detect(np.ascontiguousarray(picture[..., ::-1])) for picture in levels(images)]

    return ours.check, library


def concepts(folder, device, small):
    """diffusers' checker as its pipelines call it, for one picture after the other as they are made."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPImageProcessor

    from facegen.models.safety.concepts import ConceptChecker

    vision = {
        "hidden_size": 1024,
        "num_hidden_layers": 2 if small else 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "image_size": 224,
        "patch_size": 14,
        "projection_dim": 768,
        "hidden_act": "quick_gelu",
    }
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=768)).eval()
    torch.nn.init.normal_(checker.concept_embeds)
    torch.nn.init.normal_(checker.special_care_embeds)
    save_file({k: v.contiguous() for k, v in checker.state_dict().items()}, folder / "concepts.safetensors")
    processor, checker = CLIPImageProcessor(), checker.to(device)
    ours = ConceptChecker(folder / "concepts.safetensors", "concepts", place=on(device))

    def library(images):
        verdicts = []
        for picture in levels(images):
            pixels = processor(Image.fromarray(picture), return_tensors="pt").pixel_values.to(device)
            verdicts += checker(images=[picture], clip_input=pixels)[1]
        return verdicts

    return ours.check, library


def classifier(folder, device, small):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor, pipeline

    from facegen.models.safety.classifier import ClassifierChecker

    labels = {0: "normal", 1: "nsfw"}
    config = ViTConfig(num_hidden_layers=2 if small else 12, id2label=labels, label2id={v: k for k, v in labels.items()})
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    classify = pipeline("image-classification", model=str(folder), device=device)
    ours = ClassifierChecker(folder, "classifier", place=on(device))

    def library(images):
        return [classify(Image.fromarray(picture)) for picture in levels(images)]

    return ours.check, library


def on(device):
    def place(network):
        network.to(device)
        return lambda: device

    return place


def seconds(calls, images, rounds, clock):
    """Times of each call, [rounds] each, after one to warm up."""
    times = [[] for _ in calls]
    for number in range(rounds + 1):
        for call, own in zip(calls, times, strict=True):
            began = clock()
            call(images)
            if number:
                own.append(clock() - began)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="of the square pictures, in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="pictures in a batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: of all threads, for busy machines")
    parser.add_argument("--checkers", nargs="+", choices=CHECKERS, default=CHECKERS)
    parser.add_argument("--small", action="store_true", help="networks with two layers, for a try")
    parser.add_argument("--json", type=Path, help="file that gets a line with all figures")
    options = parser.parse_args()
    load_pack()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    sys.stdout.write(
        f"{options.side}x{options.side}, torch {torch.__version__}, {device}, {threads} thread(s), {options.clock} time\n"
    )
    sys.stdout.write(f"{'':12}{'batch':>6}{'ours /s':>10}{'library /s':>12}{'ratio':>8}\n")
    for name in options.checkers:
        with tempfile.TemporaryDirectory() as folder:
            calls = globals()[name](Path(folder), device, options.small)
            for batch in options.batches:
                images = torch.rand(batch, options.side, options.side, 3, generator=torch.Generator().manual_seed(0))
                ours, library = seconds(calls, images, options.rounds, CLOCKS[options.clock])
                ratio = statistics.median(theirs / own for own, theirs in zip(ours, library, strict=True))
                speed = [batch / statistics.median(times) for times in (ours, library)]
                sys.stdout.write(f"{name:12}{batch:>6}{speed[0]:>10.2f}{speed[1]:>12.2f}{ratio:>8.2f}\n")
                sys.stdout.flush()
                told = {"side": options.side, "clock": options.clock, "rounds": options.rounds, "small": options.small}
                figures = {"ours": speed[0], "library": speed[1], "ratio": ratio}
                results.keep(options.json, "safety", checker=name, batch=batch, **told, **figures)


if __name__ == "__main__":
    main()
