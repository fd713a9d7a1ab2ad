"""A small FLUX.1 as a diffusers folder, with its topology and reduced widths. Weights are random."""

import string
import tempfile
from pathlib import Path

import torch

from facegen.standalone.checkpoints.clip_tokenizer import clip_merges, save_tokenizer
from onnx_files import save_pack
from pulid_files import flux_state
from small_checkpoints import FACES, TOWER, save_pulid

DOUBLE, SINGLE, WIDTH = 3, 5, 64
LAYERS = 4  # of PuLID: after double blocks 0 and 2, and single blocks 0 and 4


def save_flux_folder(folder: Path, seed=0, guidance=True) -> Path:
    """Written by diffusers' own pipeline. Without `guidance` it is of schnell's kind."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

    with tempfile.TemporaryDirectory() as scratch:
        save_tokenizer(Path(scratch), clip_merges(), "<|endoftext|>")
        tokenizer = CLIPTokenizer.from_pretrained(scratch)
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", "\u2581a", "\u2581pilot", *string.ascii_lowercase]
    torch.manual_seed(seed)
    clip = CLIPTextConfig(
        hidden_size=32, intermediate_size=64, num_attention_heads=1, num_hidden_layers=2, bos_token_id=49406, eos_token_id=49407
    )
    t5 = T5Config(
        vocab_size=len(pieces), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    parts = {
        "text_encoder": CLIPTextModel(clip),
        "tokenizer": tokenizer,
        "text_encoder_2": T5EncoderModel(t5),
        "tokenizer_2": T5TokenizerFast(
            vocab=[(piece, -float(number)) for number, piece in enumerate(pieces)], extra_ids=0, model_max_length=512
        ),
        "transformer": transformer(seed, guidance),
        "vae": diffusers.AutoencoderKL(
            latent_channels=4,
            block_out_channels=(32,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            scaling_factor=0.3611,
            shift_factor=0.1159,
        ),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=guidance, shift=3.0 if guidance else 1.0),
    }
    diffusers.FluxPipeline(**parts).save_pretrained(folder)
    return folder


def save_flux_models(folder: Path) -> Path:
    """A models folder with FLUX.1, and PuLID and all that it needs."""
    (folder / "checkpoints").mkdir()
    save_flux_folder(folder / "checkpoints" / "small flux")
    save_pulid(flux_state(LAYERS, WIDTH, depth=5, states=TOWER), folder, "pulid_flux_v0.9.1.safetensors")
    pack = save_pack(folder / "insightface" / "models" / "antelopev2", FACES, seed=1)
    (pack / "w600k_r50.onnx").rename(pack / "glintr100.onnx")
    return folder


def transformer(seed=0, guidance=True):
    """diffusers' own, with no layer of zeros: one that was trained has none."""
    import diffusers

    torch.manual_seed(seed)
    network = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=DOUBLE,
        num_single_layers=SINGLE,
        attention_head_dim=16,
        num_attention_heads=WIDTH // 16,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    ).eval()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network
