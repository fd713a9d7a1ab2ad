"""Which base a checkpoint is of is told without its weights: by published names and shapes."""

import json

import pytest

from facegen.errors import UnreadableFileError, UnsupportedCheckpointError
from facegen.models.checkpoint_kind import kind_of, of_names

UNET = "model.diffusion_model."
WHOLE = {
    "SD1.5": ["cond_stage_model.transformer.text_model.final_layer_norm.weight", "first_stage_model.quant_conv.weight"],
    "SDXL": [
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "conditioner.embedders.1.model.ln_final.weight",
        "first_stage_model.quant_conv.weight",
    ],
}


def names(context=768, labels=None, in_channels=4, more=(), whole="SD1.5"):
    found = {
        f"{UNET}input_blocks.0.0.weight": (320, in_channels, 3, 3),
        f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, context),
        f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, context),
    }
    if labels:
        found[f"{UNET}label_emb.0.0.weight"] = (1280, labels)
    return found | dict.fromkeys([*WHOLE[whole], *more], (1,))


SDXL = {"context": 2048, "labels": 2816, "whole": "SDXL"}
PUBLISHED = {
    "SD1.5": names(),
    "SDXL": names(**SDXL),
    "SD2": names(1024, more=["cond_stage_model.model.ln_final.weight"]),
    "the SDXL refiner": names(1280, 2560, whole="SDXL"),
    "a model for inpainting or editing (9 channels of input)": names(in_channels=9),
    "SDXL with the noise of EDM, such as Playground 2.5": names(**SDXL, more=["edm_mean", "edm_std"]),
    "a video model": names(1024, 768, 8, [f"{UNET}input_blocks.1.1.time_stack.0.norm1.weight"]),
    "FLUX in one file": {"model.diffusion_model.double_blocks.0.img_attn.proj.weight": (3072, 3072)},
    "SD3": {"model.diffusion_model.joint_blocks.0.x_block.attn.proj.weight": (1536, 1536)},
    "a UNet alone": {"down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3)},
    "a LoRA": {"lora_unet_down_blocks_0.lora_down.weight": (4, 320)},
}


@pytest.mark.parametrize("base", PUBLISHED)
def test_single_files(tmp_path, base):
    kind = of_names(tmp_path / "some name.safetensors", PUBLISHED[base])
    assert kind.base == base
    if base in ("SD1.5", "SDXL"):
        assert kind.blocks == 2 and kind.context_dim == {"SD1.5": 768, "SDXL": 2048}[base]
        kind.require_supported()
    else:
        with pytest.raises(UnsupportedCheckpointError, match="A checkpoint of SD1.5 or SDXL is needed") as told:
            kind.require_supported()
        assert f"some name.safetensors is {base}. " in str(told.value)


@pytest.mark.parametrize(
    ("base", "without", "says"),
    [
        ("SD1.5", "cond_stage_model.", "SD1.5 without the text encoder."),
        ("SDXL", "conditioner.embedders.1.", "SDXL without the text encoders."),
        ("SDXL", "first_stage_model.", "SDXL without the VAE."),
        ("SDXL", ("first_stage_model.", "conditioner."), "SDXL without the VAE and the text encoders."),
    ],
)
def test_a_part_that_is_missing_is_named(tmp_path, base, without, says):
    left = {name: shape for name, shape in PUBLISHED[base].items() if not name.startswith(without)}
    with pytest.raises(UnsupportedCheckpointError, match=says):
        of_names(tmp_path / "x.safetensors", left).require_supported()


def folder(path, index, unet=None, scheduler="EulerDiscreteScheduler"):
    for name, held in {
        "model_index.json": index,
        "unet/config.json": unet,
        "scheduler/scheduler_config.json": {"_class_name": scheduler},
    }.items():
        if held is not None:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(json.dumps(held))
    return path


SD = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
XL = {"cross_attention_dim": 2048, "addition_embed_type": "text_time"}


@pytest.mark.parametrize(
    ("base", "index", "unet", "scheduler"),
    [
        ("SD1.5", SD, {"cross_attention_dim": 768}, "PNDMScheduler"),
        ("SDXL", SD, XL, "EulerDiscreteScheduler"),
        ("SD2", SD, {"cross_attention_dim": 1024}, "PNDMScheduler"),
        ("the SDXL refiner", SD, XL | {"cross_attention_dim": 1280}, "EulerDiscreteScheduler"),
        ("SDXL with the noise of EDM, such as Playground 2.5", SD, XL, "EDMDPMSolverMultistepScheduler"),
        ("a model for inpainting or editing (9 channels of input)", SD, XL | {"in_channels": 9}, "PNDMScheduler"),
        ("FLUX.1", {"_class_name": "FluxPipeline", "transformer": ["diffusers", "X"]}, None, "X"),
        ("another FLUX than plain FLUX.1", {"_class_name": "FluxKontextPipeline"}, None, "X"),
        ("another FLUX than plain FLUX.1", {"_class_name": "Flux2Pipeline"}, None, "X"),
        ("SD3", {"_class_name": "StableDiffusion3Pipeline", "transformer": ["diffusers", "X"]}, None, "X"),
        ("made for diffusers' SanaPipeline", {"_class_name": "SanaPipeline"}, None, "X"),
    ],
)
def test_folders(tmp_path, base, index, unet, scheduler):
    kind = kind_of(folder(tmp_path, index, unet, scheduler))
    assert kind.base == base and kind.blocks is None
    if base not in ("SD1.5", "SDXL", "FLUX.1"):
        with pytest.raises(UnsupportedCheckpointError):
            kind.require_supported()


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff" * 100])
def test_what_is_no_such_file_is_told(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"x\.safetensors can't be read as a checkpoint: "):
        kind_of(tmp_path / "x.safetensors")
    (tmp_path / "model_index.json").write_bytes(content)
    with pytest.raises(UnreadableFileError, match="can't be read as a checkpoint: "):
        kind_of(tmp_path)
