"""A small SDXL checkpoint that ComfyUI's stock loader takes for one, and FaceID, InstantID and PuLID files that fit it.

The UNet is Segmind Vega's, the SDXL with the fewest attention blocks, with all levels as wide as the first. CLIP-G has its
real width, because the loader gives it no other, and as many layers as `few_layers` leaves it; they are zeros and leave the
text as the embeddings have it. The file is PyTorch's, in which a tensor of zeros takes one number.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from faceid_files import faceid_state, save
from host_models import FACES, LAYERS, XL_TOPOLOGY, clip_text, randomize
from onnx_files import save_antelope
from pulid_files import sdxl_state
from structure_files import save_structure

UNET = {
    **XL_TOPOLOGY,
    "model_channels": 320,
    "channel_mult": (1, 1, 1),
    "transformer_depth": [0, 0, 1, 1, 2, 2],
    "transformer_depth_middle": -1,
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
}
ATTENTION_BLOCKS = 6 + 9


def sdxl_files(models: Path) -> list[Path]:
    """A checkpoint, and all that FaceID, InstantID and PuLID need for it, in a models folder; what was made."""
    return [
        sdxl_checkpoint(models / "checkpoints" / "sdxl.ckpt"),
        sdxl_faceid(models / "ipadapter" / "ip-adapter-faceid-plusv2_sdxl.bin"),
        *sdxl_instantid(models),
        *sdxl_pulid(models),
    ]


def sdxl_checkpoint(path: Path, seed=0) -> Path:
    import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
    import comfy.taesd.taesd as taesd

    with torch.device("meta"):
        unet, vae = openaimodel.UNetModel(**UNET), taesd.TAESD(latent_channels=4)
    state = {f"model.diffusion_model.{k}": v for k, v in randomize(unet, seed).items()}
    state |= {f"first_stage_model.{k}": v for k, v in randomize(vae, seed + 1).items() if v.ndim}
    state |= {f"conditioner.embedders.0.transformer.text_model.{k}": v for k, v in clip_text(seed + 2).items()}
    state = {k: v.half() for k, v in state.items()}
    torch.save(state | {f"conditioner.embedders.1.model.{k}": v for k, v in clip_g(seed + 3).items()}, path)
    return path


def clip_g(seed, width=1280, layers=LAYERS):
    """In OpenCLIP's names, as half precision; the layers share one zero."""
    g = torch.Generator().manual_seed(seed)
    state = {
        "token_embedding.weight": 0.02 * torch.randn(49408, width, generator=g),
        "positional_embedding": 0.02 * torch.randn(77, width, generator=g),
        "text_projection": torch.randn(width, width, generator=g) / width**0.5,
        "ln_final.weight": torch.ones(width),
        "ln_final.bias": torch.zeros(width),
    }
    shapes = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "mlp.c_fc.bias": (4 * width,),
        "attn.out_proj.weight": (width, width),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_proj.weight": (width, 4 * width),
    }
    vectors = ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "attn.out_proj.bias", "mlp.c_proj.bias")
    shapes |= dict.fromkeys(vectors, (width,))
    nothing = torch.zeros(1, dtype=torch.float16)
    layer = {name: nothing.expand(shape) for name, shape in shapes.items()}
    every = {f"transformer.resblocks.{i}.{name}": zeros for i in range(layers) for name, zeros in layer.items()}
    return {name: tensor.half() for name, tensor in state.items()} | every


def sdxl_faceid(path: Path) -> Path:
    """PlusV2 with one resampler layer of four, for a vision model 1024 wide."""
    state = faceid_state([320] * ATTENTION_BLOCKS, 2048, 1024, depth=1)
    return save({part: {k: v.half() for k, v in tensors.items()} for part, tensors in state.items()}, path)


def sdxl_pulid(folder: Path) -> list[Path]:
    """PuLID's file, and those of what sees the structure of a face, in a models folder; all that was made."""
    (folder / "pulid").mkdir(exist_ok=True)
    adapter = folder / "pulid" / "pulid_v1.1.safetensors"
    save_file(sdxl_state([320] * ATTENTION_BLOCKS, 2048, depth=5, states=64), adapter)
    return [adapter, *save_structure(folder)]


def sdxl_instantid(folder: Path) -> list[Path]:
    """InstantID's two files and the face pack that it was trained with, in a models folder; all that was made."""
    import comfy.cldm.cldm as cldm

    for name in ("instantid", "controlnet"):
        (folder / name).mkdir(exist_ok=True)
    state = faceid_state([320] * ATTENTION_BLOCKS, 2048, rank=0, unnorm=True, depth=1, inner=128)
    adapter = save(state, folder / "instantid" / "ip-adapter.bin")
    config = {**UNET, "hint_channels": 3}
    config.pop("transformer_depth_output"), config.pop("out_channels")
    with torch.device("meta"):
        net = cldm.ControlNet(**config)
    controlnet = folder / "controlnet" / "instantid-controlnet.safetensors"
    save_file({name: tensor.half().contiguous() for name, tensor in randomize(net, 9).items()}, controlnet)
    return [adapter, controlnet, *save_antelope(folder / "insightface" / "models", FACES)]
