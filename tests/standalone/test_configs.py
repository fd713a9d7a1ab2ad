"""The configurations that are made of a single file's tensors are, at the published sizes, the published ones."""

import pytest
import torch

from facegen.standalone.checkpoints.configs import clip_config, unet_config, vae_config
from small_checkpoints import published_unet_state, published_vae

SD15 = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "transformer_layers_per_block": [1, 1, 1, 1],
    "use_linear_projection": False,
}
SDXL = {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
COMMON = {"in_channels": 4, "out_channels": 4, "layers_per_block": 2}


def shapes(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def without_weights(cls, **config):
    with torch.device("meta"):
        return cls(**config)


@pytest.mark.parametrize(("base", "published"), [("SD1.5", SD15), ("SDXL", SDXL)])
def test_unets(base, published):
    from diffusers import UNet2DConditionModel

    network = without_weights(UNet2DConditionModel, **published)
    assert unet_config(base, shapes(published_unet_state(network.state_dict())), pooled=1280) == published | COMMON


def test_a_distilled_sdxl_is_refused():
    """Its way up isn't its way down in reverse."""
    from diffusers import UNet2DConditionModel

    network = without_weights(UNet2DConditionModel, **SDXL | {"transformer_layers_per_block": [1, 2, 4]})
    state = {name: t for name, t in network.state_dict().items() if not name.startswith("up_blocks.0.attentions.1.tr")}
    with pytest.raises(ValueError, match="isn't laid out like that of SDXL, as a distilled one isn't"):
        unet_config("SDXL", shapes(published_unet_state(state)), pooled=1280)


@pytest.mark.parametrize(("base", "factor"), [("SD1.5", 0.18215), ("SDXL", 0.13025)])
def test_autoencoders(base, factor):
    from diffusers import AutoencoderKL

    published = {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "scaling_factor": factor,
        "force_upcast": base == "SDXL",
    }
    state = without_weights(AutoencoderKL, **published).state_dict()
    assert (
        vae_config(base, {f"first_stage_model.{published_vae(name)}": tuple(t.shape) for name, t in state.items()}) == published
    )


def test_text_encoders():
    clip_l = {"embeddings.token_embedding.weight": (49408, 768), "encoder.layers.0.mlp.fc1.weight": (3072, 768)}
    clip_l |= {f"encoder.layers.{number}.layer_norm1.weight": (768,) for number in range(12)}
    clip_g = {"token_embedding.weight": (49408, 1280), "transformer.resblocks.0.mlp.c_fc.weight": (5120, 1280)}
    clip_g |= {f"transformer.resblocks.{number}.ln_1.weight": (1280,) for number in range(32)}
    clip_g["text_projection"] = (1280, 1280)
    marks = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}
    of_l = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    of_g = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
    assert clip_config(clip_l, False) == marks | of_l | {"hidden_act": "quick_gelu", "projection_dim": 768}
    assert clip_config(clip_g, True) == marks | of_g | {"hidden_act": "gelu", "projection_dim": 1280}
