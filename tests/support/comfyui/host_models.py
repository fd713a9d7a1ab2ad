"""Small model files that ComfyUI's stock loaders accept, and a models folder with all that a FaceGen graph needs.

SD1.5 cut down to one level (four cross-attention blocks), TAESD as the VAE, CLIP-L as the text encoder, ViT-L as the
vision model. Weights are random: they prove the path, not a picture.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from faceid_files import faceid_state, save
from onnx_files import save_pack
from safety_files import concept_state, save_classifier, save_concepts

WIDTHS = [320] * 4
LAYERS = 3  # of CLIP's encoders, as few_layers.py leaves them
FACES = [(0.35, 0.12, 0.55, 0.38, 0.95), (0.05, 0.1, 0.15, 0.2, 0.7)]  # the astronaut's, and a smaller one
TOPOLOGY = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "legacy": False,
    "context_dim": 768,
    "use_linear_in_transformer": False,
    "transformer_depth_middle": 1,
}
XL_TOPOLOGY = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "num_head_channels": 64,
    "use_spatial_transformer": True,
    "legacy": False,
    "context_dim": 2048,
    "use_linear_in_transformer": True,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "num_res_blocks": [2] * 3,
}
ONE_LEVEL = {
    **TOPOLOGY,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": (1,),
    "transformer_depth": [1],
    "transformer_depth_output": [1, 1],
}


def randomize(module, seed):
    """Random weights of a sensible scale for a module that was built without any."""
    return dict(_random(module, seed, torch.device("cpu")))


def fill(module, seed):
    """Gives the module such weights where it is: a GPU draws billions in no time, but others than a CPU."""
    own = module.state_dict()
    for name, tensor in _random(module, seed, next(iter(own.values())).device):
        own[name].copy_(tensor)


def _random(module, seed, device):
    g = torch.Generator(device).manual_seed(seed)
    for name, tensor in module.state_dict().items():
        drawn = torch.randn(tensor.shape, generator=g, device=device)
        if tensor.ndim > 1:
            yield name, drawn / tensor[0].numel() ** 0.5
        else:
            yield name, 0.05 * drawn + (1.0 if name.endswith("weight") else 0.0)


def sd15_checkpoint(path: Path, seed=0) -> Path:
    import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
    import comfy.taesd.taesd as taesd

    with torch.device("meta"):
        unet = openaimodel.UNetModel(**ONE_LEVEL)
        vae = taesd.TAESD(latent_channels=4)
    state = {f"model.diffusion_model.{k}": v for k, v in randomize(unet, seed).items()}
    state |= {f"first_stage_model.{k}": v for k, v in randomize(vae, seed + 1).items() if v.ndim}
    state |= {f"cond_stage_model.transformer.text_model.{k}": v for k, v in clip_text(seed + 2).items()}
    save_file({k: v.half().contiguous() for k, v in state.items()}, path)
    return path


def clip_text(seed, width=768, layers=LAYERS):
    g = torch.Generator().manual_seed(seed)
    state = {
        "embeddings.token_embedding.weight": 0.02 * torch.randn(49408, width, generator=g),
        "embeddings.position_embedding.weight": 0.02 * torch.randn(77, width, generator=g),
        **_norm("final_layer_norm", width),
    }
    return state | _encoder(g, "encoder.layers", width, layers)


def clip_vision_l(path: Path, seed=5, width=1024, layers=LAYERS) -> Path:
    g = torch.Generator().manual_seed(seed)
    state = {
        "vision_model.embeddings.class_embedding": torch.randn(width, generator=g) * 0.1,
        "vision_model.embeddings.patch_embedding.weight": torch.randn(width, 3, 14, 14, generator=g) / 24,
        "vision_model.embeddings.position_embedding.weight": torch.randn(257, width, generator=g) * 0.1,
        "visual_projection.weight": torch.randn(768, width, generator=g) / width**0.5,
        **_norm("vision_model.pre_layrnorm", width),
        **_norm("vision_model.post_layernorm", width),
    }
    state |= _encoder(g, "vision_model.encoder.layers", width, layers)
    state["vision_model.encoder.layers.22.layer_norm1.weight"] = torch.ones(width)  # by which ComfyUI knows this size
    save_file({k: v.half().contiguous() for k, v in state.items()}, path)
    return path


def _norm(name, width):
    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}


def _encoder(g, root, width, layers):
    """In half precision. All layers share one layer's numbers, which are quick to make."""
    layer = {**_norm("layer_norm1", width), **_norm("layer_norm2", width)}
    parts = [(f"self_attn.{p}_proj", width, width) for p in ("q", "k", "v", "out")]
    for name, d_in, d_out in [*parts, ("mlp.fc1", width, 4 * width), ("mlp.fc2", 4 * width, width)]:
        layer[f"{name}.weight"] = 0.3 * torch.randn(d_out, d_in, generator=g) / d_in**0.5
        layer[f"{name}.bias"] = torch.zeros(d_out)
    layer = {name: tensor.half() for name, tensor in layer.items()}
    return {f"{root}.{i}.{name}": tensor.clone() for i in range(layers) for name, tensor in layer.items()}


def build_models_folder(folder: Path) -> Path:
    """A ComfyUI models folder for portrait graphs."""
    for name in ("checkpoints", "clip_vision", "ipadapter"):
        (folder / name).mkdir(parents=True)
    sd15_checkpoint(folder / "checkpoints" / "sd15.safetensors")
    clip_vision_l(folder / "clip_vision" / "vit_l.safetensors")
    save(faceid_state(WIDTHS, 768, 1024), folder / "ipadapter" / "ip-adapter-faceid-plusv2_sd15.bin")
    save_concepts(concept_state(), folder / "safety_checker" / "concepts.safetensors")
    save_classifier(folder / "safety_checker" / "detector")
    save_pack(folder / "insightface" / "models" / "buffalo_l", FACES)
    return folder
