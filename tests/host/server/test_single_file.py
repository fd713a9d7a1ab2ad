"""The standalone engine on a single-file checkpoint. Here, because ComfyUI's modules know the original tensor names."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import comfy_unets
from facegen.models.tiny_files import TINY
from faceid_files import faceid_state, save
from host_models import randomize
from pack import ROOT

REPOSITORY = "models--stable-diffusion-v1-5--stable-diffusion-v1-5"  # where diffusers looks for SD1.5's configuration
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def write_checkpoint(path, text_encoder):
    """SD1.5's layout: model.diffusion_model, first_stage_model, cond_stage_model.transformer."""
    from comfy.ldm.models.autoencoder import AutoencoderKL

    parts = {
        "model.diffusion_model": comfy_unets.sd15().model.diffusion_model.state_dict(),
        "first_stage_model": randomize(AutoencoderKL(embed_dim=4, ddconfig=VAE), 1),
        # transformers 5 dropped the prefix that the published files have
        "cond_stage_model.transformer.text_model": {
            name.removeprefix("text_model."): tensor for name, tensor in text_encoder.state_dict().items()
        },
    }
    save_file({f"{part}.{k}": v.half().contiguous() for part, state in parts.items() for k, v in state.items()}, path)


def write_hub_cache(folder, tiny_checkpoint):
    """What diffusers fetches once for single files: SD1.5's configuration, here at the test's widths."""
    import diffusers
    import transformers

    snapshot = folder / REPOSITORY / "snapshots" / "0"
    shutil.copytree(tiny_checkpoint, snapshot, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / REPOSITORY / "refs").mkdir()
    (folder / REPOSITORY / "refs" / "main").write_text("0")
    shutil.rmtree(snapshot / "vae")
    shutil.rmtree(snapshot / "text_encoder")
    channels = [comfy_unets.CHANNELS * m for m in (1, 2, 4, 4)]
    unet = json.loads((snapshot / "unet" / "config.json").read_text())
    unet |= {"block_out_channels": channels, "cross_attention_dim": 768, "attention_head_dim": 8, "norm_num_groups": 32}
    (snapshot / "unet" / "config.json").write_text(json.dumps(unet))
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        layers_per_block=1,
        latent_channels=4,
    )
    vae.save_config(snapshot / "vae")
    index = json.loads((snapshot / "model_index.json").read_text())
    index["vae"] = ["diffusers", "AutoencoderKL"]
    (snapshot / "model_index.json").write_text(json.dumps(index))
    vocabulary = len(json.loads((snapshot / "tokenizer" / "vocab.json").read_text()))
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            hidden_size=768,
            intermediate_size=128,
            num_hidden_layers=1,
            num_attention_heads=12,
            vocab_size=vocabulary,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    text.config.save_pretrained(snapshot / "text_encoder")
    return text


@pytest.fixture
def models(tmp_path):
    shutil.copytree(TINY, tmp_path / "models")
    with torch.inference_mode(False):
        text = write_hub_cache(tmp_path / "hub", tmp_path / "models" / "checkpoints" / "tiny")
        shutil.rmtree(tmp_path / "models" / "checkpoints" / "tiny")
        write_checkpoint(tmp_path / "models" / "checkpoints" / "dreams.safetensors", text)
    shutil.rmtree(tmp_path / "models" / "ipadapter")
    (tmp_path / "models" / "ipadapter").mkdir()
    save(faceid_state(comfy_unets.WIDTHS, 768, 64), tmp_path / "models" / "ipadapter" / "faceid.bin")
    return tmp_path / "models"


@pytest.mark.newest
def test_generate_from_a_single_file(models, tmp_path):
    from facegen.standalone.cli.generate import demo_photo

    command = [
        sys.executable,
        ROOT,
        "generate",
        "--face",
        demo_photo(),
        "--prompt",
        "a pilot",
        "--seed",
        "1",
        "--models",
        models,
        "--width",
        "64",
        "--height",
        "64",
        "--num-inference-steps",
        "21",
        "-o",
        tmp_path / "out",
    ]
    env = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    assert np.asarray(Image.open(tmp_path / "out" / "realistic_1_0.png")).std() > 5
