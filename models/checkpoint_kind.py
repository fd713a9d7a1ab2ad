"""Which base model a checkpoint is of: told by its headers and configuration files, before any weight is read.

The layouts are those of the published single files (names as in Stability's own code) and of diffusers' folders.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UnreadableFileError, UnsupportedCheckpointError
from .safetensors_header import shapes

SD15, SDXL, FLUX1 = "SD1.5", "SDXL", "FLUX.1"
SUPPORTED = (SD15, SDXL, FLUX1)
UNET, VAE = "model.diffusion_model.", "first_stage_model."  # how the names of a single file's parts begin
TEXT_ENCODERS = {
    SD15: ("cond_stage_model.transformer.",),
    SDXL: ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}
LABELS = f"{UNET}label_emb.0.0.weight"  # SDXL's way in for the picture's size and the pooled text
V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"  # empty tensors that such SDXL checkpoints carry
EDM = {"edm_mean", "edm_vpred.sigma_max"}
SHARDS, HALF = "diffusion_pytorch_model*.safetensors", ".fp16"  # a folder may hold its weights in half precision beside
# Of what else is found in a folder of checkpoints: how the names of its tensors begin, after UNET's if they have that.
OTHERS = {
    "double_blocks.": "FLUX in one file",
    "joint_blocks.": "SD3",
    "model.diffusion_model.time_embed": "another Stable Diffusion",
    "down_blocks.": "a UNet alone",
    "image_proj.": "an IP-Adapter",
    "lora_": "a LoRA",
}
FLUX1_PIPELINE = "FluxPipeline"
PIPELINES = {"Flux": "another FLUX than plain FLUX.1", "StableDiffusion3": "SD3"}  # how the names of diffusers' pipelines begin

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class CheckpointKind:
    """What a checkpoint is.

    base         SD15, SDXL, FLUX1 (always a folder), or in words what else.
    context_dim  width of the UNet's text context; None where that isn't known, and for FLUX.1.
    blocks       how many cross-attention blocks the UNet has; None where that isn't known, and for FLUX.1.
    lacks        what a whole checkpoint of this base has and this one hasn't, in words; "" for nothing.
    """

    path: Path
    base: str
    context_dim: int | None = None
    blocks: int | None = None
    lacks: str = ""

    def require_supported(self) -> None:
        """Raises UnsupportedCheckpointError, which names what it is, unless it is a whole checkpoint of SUPPORTED."""
        if self.base not in SUPPORTED:
            needed = f"A checkpoint of {SD15} or {SDXL} is needed, or {FLUX1} as a folder in diffusers' layout."
            raise UnsupportedCheckpointError(f"{self.path} is {self.base}. {needed}")
        if self.lacks:
            raise UnsupportedCheckpointError(
                f"{self.path} is {self.base} without {self.lacks}. One that holds UNet, text encoder and VAE is needed."
            )


def kind_of(path: Path) -> CheckpointKind:
    """Of a .safetensors file or a diffusers folder. Raises UnreadableFileError when it can't be read as either."""
    try:
        return _of_folder(path) if path.is_dir() else of_names(path, shapes(path))
    except (OSError, ValueError, LookupError) as error:  # a JSON error is a ValueError; a tensor may have no dimensions
        raise UnreadableFileError(f"{path} can't be read as a checkpoint: {error}") from error


def of_names(path: Path, names: Shapes) -> CheckpointKind:
    """Of a single file, by the names and shapes of its tensors."""
    keys = [name for name in names if name.startswith(UNET) and name.endswith(".attn2.to_k.weight")]
    first = names.get(f"{UNET}input_blocks.0.0.weight")
    if not keys or first is None:
        return CheckpointKind(path, _other(names))
    context_dim = names[keys[0]][-1]
    base = SDXL if LABELS in names else SD15
    if any(".time_stack." in name for name in names):
        return CheckpointKind(path, "a video model")
    if odd := _odd(base, context_dim, first[1], edm=not EDM.isdisjoint(names)):
        return CheckpointKind(path, odd)
    parts = {"the VAE": (VAE,), "the text encoders" if base == SDXL else "the text encoder": TEXT_ENCODERS[base]}
    lacks = [part for part, starts in parts.items() if not all(any(n.startswith(s) for n in names) for s in starts)]
    return CheckpointKind(path, base, context_dim, len(keys), " and ".join(lacks))


def _odd(base: str, context_dim: int | None, in_channels: int, edm: bool) -> str:
    """What is built like SD1.5 or SDXL and is something else; "" for nothing."""
    if context_dim == 1024:
        return "SD2"
    if base == SDXL and context_dim == 1280:
        return "the SDXL refiner"
    if in_channels != 4:
        return f"a model for inpainting or editing ({in_channels} channels of input)"
    return f"{base} with the noise of EDM, such as Playground 2.5" if edm else ""


def _other(names: Iterable[str]) -> str:
    for start, what in OTHERS.items():
        if any(name.removeprefix(UNET).startswith(start) or name.startswith(start) for name in names):
            return what
    held = ", ".join(sorted(names)[:3])
    return f"no checkpoint that is known here (it holds {held}, …)" if held else "a file without tensors"


def _of_folder(folder: Path) -> CheckpointKind:
    index = _json(folder / "model_index.json")
    if "unet" not in index:
        pipeline = str(index.get("_class_name"))
        if pipeline == FLUX1_PIPELINE:
            return CheckpointKind(folder, FLUX1)
        known = (what for start, what in PIPELINES.items() if pipeline.startswith(start))
        return CheckpointKind(folder, next(known, f"made for diffusers' {pipeline}"))
    config = _json(folder / "unet" / "config.json")
    context = config.get("cross_attention_dim")
    context_dim = context if isinstance(context, int) else None
    base = SDXL if config.get("addition_embed_type") == "text_time" else SD15
    edm = str(_json(folder / "scheduler" / "scheduler_config.json").get("_class_name")).startswith("EDM")
    if odd := _odd(base, context_dim, config.get("in_channels", 4), edm):
        return CheckpointKind(folder, odd)
    return CheckpointKind(folder, base, context_dim, _blocks_of(folder / "unet"))


def _blocks_of(unet: Path) -> int | None:
    files = [file for file in unet.glob(SHARDS) if HALF not in file.name] or list(unet.glob(SHARDS))
    return sum(name.endswith(".attn2.to_k.weight") for file in files for name in shapes(file)) or None


def _json(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds no object")
    return found
