"""The trained networks as files: the formats, names and layouts of the published ones, in half precision."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..drawings.drawing import draw
from ..drawings.person import BACKGROUNDS, Person, View
from ..language import load_tokenizer
from ..networks import SCHEDULE, SIDE
from ..recipe import Trained
from ..stages.autoencoder import widen
from .onnx_detector import save_detector
from .onnx_recogniser import save_recogniser

NAME = "tiny"
CHECKSUMS = "SHA256SUMS"
SOMEBODY = 1  # the seed of the drawn face, far from the training's


def export(trained: Trained, out: Path) -> None:
    """Write a models folder as ComfyUI has it, and the checksums of its files. Files of other names are left alone."""
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    _save_checkpoint(trained, part / "checkpoints" / NAME)
    adapter = trained.diffusion.adapter.weights
    _save(adapter, part / "ipadapter" / f"ip-adapter-faceid-plusv2_{NAME}.safetensors")
    _save(_published_names(trained.vision.clip, "vision_model."), part / "clip_vision" / f"{NAME}.safetensors")
    config = trained.vision.clip.config.to_diff_dict()
    (part / "clip_vision" / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    pack = part / "insightface" / "models" / NAME
    pack.mkdir(parents=True)
    save_detector(pack / f"det_{NAME}.onnx", trained.finder)
    save_recogniser(pack / f"w_{NAME}.onnx", trained.recogniser)
    Image.fromarray(drawn_face()).save(part / "drawn_face.png", optimize=True)
    files = sorted(path for path in part.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(part).as_posix()}\n" for path in files]
    (part / CHECKSUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    for path in [*files, part / CHECKSUMS]:
        target = out / path.relative_to(part)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    shutil.rmtree(part)


def drawn_face() -> np.ndarray:
    """Somebody whom the model never saw, RGB uint8 [SIDE, SIDE, 3]."""
    person = Person.random(np.random.default_rng([SOMEBODY, SOMEBODY]))
    return draw(person, View(yaw=0.35, smile=0.9, background_rgb=BACKGROUNDS["teal"]), "realistic", size=SIDE)[0]


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: t.detach().cpu().half() if t.is_floating_point() else t.cpu() for name, t in tensors.items()}
    save_file({name: t.contiguous() for name, t in halves.items()}, path, metadata={"format": "pt"})


def _published_names(model: torch.nn.Module, prefix: str) -> dict[str, Tensor]:
    """Only some versions of transformers write the published prefix of a tower."""
    outside = ("visual_projection.", "text_projection.", prefix)
    tensors = {n: t for n, t in model.state_dict().items() if not n.endswith("position_ids")}
    return {n if n.startswith(outside) else prefix + n: t for n, t in tensors.items()}


def _save_checkpoint(trained: Trained, folder: Path) -> None:
    """A StableDiffusionPipeline as diffusers saves it, with the autoencoder in TAESD's form."""
    from diffusers import AutoencoderTiny, EulerDiscreteScheduler, StableDiffusionPipeline

    vae, scheduler = AutoencoderTiny(), EulerDiscreteScheduler(**SCHEDULE, steps_offset=1, timestep_spacing="leading")
    diffusion = trained.diffusion
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=diffusion.text,
        tokenizer=load_tokenizer(trained.tokenizer),
        unet=diffusion.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_config(folder)
    shutil.copytree(trained.tokenizer, folder / "tokenizer")
    for name, part, tensors in (
        ("unet", diffusion.unet, diffusion.unet.state_dict()),
        ("vae", vae, widen(trained.autoencoder)),
        ("scheduler", scheduler, None),
    ):
        part.save_config(folder / name)
        if tensors:
            _save(tensors, folder / name / "diffusion_pytorch_model.safetensors")
    _save(_published_names(diffusion.text, "text_model."), folder / "text_encoder" / "model.safetensors")
    config = diffusion.text.config
    config.architectures = ["CLIPTextModel"]
    config.save_pretrained(folder / "text_encoder")
