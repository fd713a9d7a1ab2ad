"""A small SD1.5 in diffusers' folder, and a CLIP vision model of any size, as ComfyUI's own objects.

ComfyUI's loaders know the published sizes; here the sizes come from the files' configurations, and all else is ComfyUI's.
"""

import json
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.taesd.taesd
import comfy.utils
import folder_paths
import torch
from comfy.model_base import ModelType
from safetensors import SafetensorError
from safetensors.torch import load

from ....models import tiny_files
from ....models.tiny_files import unusable

Config = dict[str, Any]
State = dict[str, torch.Tensor]
MODEL_TYPES = {"epsilon": ModelType.EPS, "v_prediction": ModelType.V_PREDICTION}
# What is read of the configurations.
SCHEDULER_KEYS = ("beta_start", "beta_end", "beta_schedule", "prediction_type")
UNET_KEYS = (
    "block_out_channels",
    "down_block_types",
    "layers_per_block",
    "cross_attention_dim",
    "attention_head_dim",
    "in_channels",
    "out_channels",
)
CLIP_KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
TEXT_KEYS = (*CLIP_KEYS, "vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id")
CLIP_VISION_KEYS = (*CLIP_KEYS, "model_type", "num_channels", "image_size", "patch_size", "projection_dim")


class NarrowSD15(comfy.supported_models.SD15):
    """SD1.5 with the widths and heads of `unet_config`, and the schedule and prediction of diffusers' `scheduler`."""

    unet_extra_config: dict[str, Any] = {}  # SD1.5's eight heads

    def __init__(self, unet_config: Config, scheduler: Config) -> None:
        super().__init__(unet_config)
        self.sampling_settings = {"linear_start": scheduler["beta_start"], "linear_end": scheduler["beta_end"]}
        self.prediction = MODEL_TYPES[scheduler["prediction_type"]]

    def model_type(self, state_dict: State, prefix: str = "") -> ModelType:
        return self.prediction


class Multiple(Fraction):
    """A level's width over the first's. ComfyUI multiplies by it and takes the product for a number of channels: an int."""

    def __mul__(self, other: Any) -> Any:
        return int(super().__mul__(other))

    __rmul__ = __mul__


def load_model(folder: Path, disable_dynamic: bool = True) -> Any:
    """MODEL, loaded whole, whatever the host asks of `disable_dynamic`: a few million weights are not worth moving in parts.

    Raises TinyFilesError, as the other loaders do, for a file that is damaged or not the pack's own.
    """
    file = folder / tiny_files.UNET
    config = NarrowSD15(_unet_config(folder / tiny_files.UNET_CONFIG), _scheduler(folder / tiny_files.SCHEDULER))
    in_diffusers = {ours: theirs for theirs, ours in comfy.utils.unet_to_diffusers(config.unet_config).items()}
    state = _read(file)
    management, kinds = comfy.model_management, list(config.supported_inference_dtypes)
    device = management.get_torch_device()
    parameters, weight_dtype = comfy.utils.calculate_parameters(state), comfy.utils.weight_dtype(state)
    dtype = management.unet_dtype(model_params=parameters, supported_dtypes=kinds, weight_dtype=weight_dtype)
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, kinds))
    model = config.get_model({}, "")
    state = _fitting(file, state, model.diffusion_model, lambda name: in_diffusers.get(name, name))
    offload = management.unet_offload_device()
    model = model.to(offload)
    model.load_model_weights(state, "")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload)
    patcher.cached_patcher_init = (load_model, (folder,))  # how newer hosts load it once more, for another device
    return patcher


def _scheduler(file: Path) -> Config:
    """diffusers' configuration, of a schedule that ComfyUI has under another name."""
    given = _config(file, *SCHEDULER_KEYS)
    if given["beta_schedule"] != "scaled_linear" or given["prediction_type"] not in MODEL_TYPES:
        raise unusable(file, f"{given['beta_schedule']}, {given['prediction_type']}")
    return given


def _unet_config(file: Path) -> Config:
    """ComfyUI's configuration of the UNet that diffusers' describes."""
    given = _config(file, *UNET_KEYS)
    widths, layers = given["block_out_channels"], given["layers_per_block"]
    transformers = [int(kind.startswith("CrossAttn")) for kind in given["down_block_types"]]
    return {
        "image_size": 32,
        "use_checkpoint": False,
        "use_spatial_transformer": True,
        "legacy": False,
        "adm_in_channels": None,
        "use_linear_in_transformer": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        "in_channels": given["in_channels"],
        "out_channels": given["out_channels"],
        "model_channels": widths[0],
        "channel_mult": [Multiple(width, widths[0]) for width in widths],
        "num_res_blocks": [layers] * len(widths),
        "transformer_depth": [depth for depth in transformers for _ in range(layers)],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [depth for depth in transformers for _ in range(layers + 1)],
        "context_dim": given["cross_attention_dim"],
        "num_head_channels": -1,
        "num_heads": given["attention_head_dim"],  # diffusers' name for it
    }


def load_clip(folder: Path) -> Any:
    """CLIP."""
    file = folder / tiny_files.TEXT_ENCODER
    config = _config(folder / tiny_files.TEXT_CONFIG, *TEXT_KEYS)
    tokenizer = _tokenizer(folder / tiny_files.TOKENIZER, config)
    text_model = partial(
        comfy.sd1_clip.SDClipModel,
        max_length=config["max_position_embeddings"],
        textmodel_json_config=config,
        model_class=TextModel,
        special_tokens={"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["eos_token_id"]},
        return_projected_pooled=False,
    )
    target = comfy.supported_models_base.ClipTarget(
        lambda **_: tokenizer, partial(comfy.sd1_clip.SD1ClipModel, clip_model=text_model)
    )
    state = _read(file)
    clip = comfy.sd.CLIP(target, parameters=comfy.utils.calculate_parameters(state))
    transformer = clip.cond_stage_model.clip_l.transformer
    state = _fitting(file, state, transformer.text_model, "text_model.{}".format)
    # Nothing of SD1.5 reads the projected state; ComfyUI's text model has the projection all the same.
    state = {f"text_model.{name}": tensor for name, tensor in state.items()}
    clip.load_sd({**state, "text_projection.weight": torch.eye(config["hidden_size"])})
    return clip


class TextModel(comfy.clip_model.CLIPTextModel):
    """ComfyUI's, with a vocabulary of the configuration's size instead of CLIP's."""

    def __init__(self, config_dict: Config, dtype: torch.dtype, device: torch.device, operations: Any) -> None:
        super().__init__(config_dict, dtype, device, operations)
        size = config_dict["vocab_size"], config_dict["hidden_size"]
        self.set_input_embeddings(operations.Embedding(*size, dtype=dtype, device=device))


def _tokenizer(folder: Path, config: Config) -> Any:
    own = partial(
        comfy.sd1_clip.SDTokenizer,
        tokenizer_path=str(folder),
        max_length=config["max_position_embeddings"],
        embedding_size=config["hidden_size"],
    )
    try:
        made = comfy.sd1_clip.SD1Tokenizer(folder_paths.get_folder_paths("embeddings"), tokenizer=own)
    except Exception as error:  # transformers and its tokenizers have no common type
        raise unusable(folder, error) from error
    if (words := len(made.clip_l.inv_vocab)) != config["vocab_size"]:
        raise unusable(folder, f"{words} words, and the text encoder knows {config['vocab_size']}")
    return made


def load_vae(folder: Path) -> Any:
    """VAE in TAESD's layout. Its latents are the model's own, and ComfyUI's are those divided by SD1.5's factor."""
    file = folder / tiny_files.VAE
    plain = comfy.taesd.taesd.TAESD()
    state = {
        "vae_scale": torch.tensor(comfy.supported_models.SD15.latent_format().scale_factor),
        "vae_shift": torch.tensor(0.0),
    }
    read = _read(file)
    for name, first in (("encoder", 0), ("decoder", 1)):  # ComfyUI counts the clamp before the decoder as a layer
        module = getattr(plain, f"taesd_{name}")
        layers = _fitting(file, read, module, partial(_layer_in_diffusers, name, first))
        state |= {f"taesd_{name}.{layer}": tensor for layer, tensor in layers.items()}
    return comfy.sd.VAE(sd=state)


def _layer_in_diffusers(part: str, first: int, name: str) -> str:
    number, _, rest = name.partition(".")
    return f"{part}.layers.{int(number) - first}.{rest}"


def load_clip_vision(folder: Path) -> Any:
    """CLIP_VISION."""
    file, config = folder / tiny_files.CLIP_VISION, folder / tiny_files.CLIP_VISION_CONFIG
    _config(config, *CLIP_VISION_KEYS)
    clip_vision = comfy.clip_vision.ClipVisionModel(str(config))
    clip_vision.load_sd(_fitting(file, _read(file), clip_vision.model))
    return clip_vision


def _config(file: Path, *needed: str) -> Config:
    """A configuration. Raises TinyFilesError unless it is JSON and has what is needed."""
    try:
        config: Config = json.loads(file.read_text(encoding="utf-8"))
        missing = [name for name in needed if name not in config]
    except (OSError, ValueError, TypeError) as error:
        raise unusable(file, error) from error
    if missing:
        raise unusable(file, f"it lacks {', '.join(missing)}")
    return config


def _read(file: Path) -> State:
    try:
        return load(file.read_bytes())  # not mapped: a file that is open could not be replaced on Windows
    except (OSError, SafetensorError) as error:
        raise unusable(file, error) from error


def _fitting(file: Path, tensors: State, module: torch.nn.Module, name_in_file: Callable[[str], str] = str) -> State:
    """The file's tensors under the module's names. Raises TinyFilesError unless all are there, in the module's shapes."""
    wanted = module.state_dict()
    names = {name: name_in_file(name) for name in wanted}
    wrong = [theirs for name, theirs in names.items() if theirs not in tensors or tensors[theirs].shape != wanted[name].shape]
    if wrong:
        what = f"{len(wrong)} of {len(wanted)} tensors are missing or of another shape, {wrong[0]} for one"
        raise unusable(file, what)
    return {name: tensors[theirs] for name, theirs in names.items()}
