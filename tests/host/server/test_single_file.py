"""The standalone engine on a single-file checkpoint. Here, because ComfyUI's modules know the original tensor names."""

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


def text_encoder():
    """CLIP's vocabulary, and one small layer."""
    import transformers

    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(hidden_size=768, intermediate_size=128, num_hidden_layers=1, num_attention_heads=12)
    )


@pytest.fixture
def models(tmp_path):
    shutil.copytree(TINY, tmp_path / "models")
    with torch.inference_mode(False):
        shutil.rmtree(tmp_path / "models" / "checkpoints" / "tiny")
        write_checkpoint(tmp_path / "models" / "checkpoints" / "dreams.safetensors", text_encoder())
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
