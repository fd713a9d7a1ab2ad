"""Small files that ComfyUI's stock loaders take for FLUX.1's, and a PuLID file that fits them.

ComfyUI reads the sizes of the diffusion model from its tensors. T5's it has in a file of its own, so a server that is to
load the small one needs SMALL_T5 among its custom nodes.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from host_models import FACES, clip_text, randomize
from onnx_files import save_antelope
from pulid_files import flux_state
from structure_files import save_structure

WIDTH, HEADS = 256, 2  # ComfyUI takes 128 a head
T5 = {"d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 128, "num_layers": 2}  # published: 4096, 64, 64, 10240, 24
POOLED = 768  # of CLIP-L
SMALL_T5 = f'''"""T5 of reduced size, by the option that ComfyUI itself has for it."""

import comfy.sd

NODE_CLASS_MAPPINGS = {{}}
load = comfy.sd.load_clip


def load_small(*args, model_options=None, **kwargs):
    return load(*args, model_options={{**(model_options or {{}}), "t5xxl_model_config": {T5}}}, **kwargs)


comfy.sd.load_clip = load_small
'''


def flux_files(models: Path) -> list[Path]:
    """All that portrait_flux_pulid names, in a models folder; what was made."""
    import comfy_flux

    states = {
        "diffusion_models/flux1-dev": _flux(),
        "text_encoders/clip_l": {f"text_model.{name}": tensor for name, tensor in clip_text(2, layers=12).items()},
        "text_encoders/t5xxl_fp16": _t5(),
        "vae/ae": _vae(),
    }
    made = []
    for name, state in states.items():
        made.append(models / f"{name}.safetensors")
        made[-1].parent.mkdir(exist_ok=True)
        save_file({key: tensor.half().contiguous() for key, tensor in state.items()}, made[-1])
    made.append(models / "pulid" / "pulid_flux_v0.9.1.safetensors")
    made[-1].parent.mkdir(exist_ok=True)
    save_file(flux_state(comfy_flux.LAYERS, WIDTH, depth=5, states=64), made[-1])
    return [*made, *save_structure(models), *save_antelope(models / "insightface" / "models", FACES)]


def are_read() -> bool:
    """Whether this ComfyUI reads width and heads from the file; old ones take every FLUX.1 for the published one."""
    import comfy.model_detection

    found = comfy.model_detection.detect_unet_config(_flux(), "")
    return (found["hidden_size"], found["num_heads"]) == (WIDTH, HEADS)


def _flux():
    import comfy.ldm.flux.model
    import comfy.ops

    import comfy_flux

    sizes = {"hidden_size": WIDTH, "num_heads": HEADS, "axes_dim": [16, 56, 56], "vec_in_dim": POOLED}
    config = comfy_flux.known(comfy_flux.CONFIG | sizes | {"context_in_dim": T5["d_model"]})
    with torch.device("meta"):
        network = comfy.ldm.flux.model.Flux(**config, operations=comfy.ops.disable_weight_init)
    return randomize(network, 0)


def _t5():
    import comfy.ops
    import comfy.text_encoders.t5

    config = {"vocab_size": 32128, "dense_act_fn": "gelu_pytorch_tanh", "is_gated_act": True, "model_type": "t5", **T5}
    with torch.device("meta"):
        network = comfy.text_encoders.t5.T5(config, None, "meta", comfy.ops.disable_weight_init)
    state = randomize(network, 3)
    return state | {"shared.weight": state["shared.weight"] * T5["d_model"] ** 0.5}


def _vae():
    """TAEF1's topology, which ComfyUI's loader takes in the place of FLUX's own."""
    import comfy.taesd.taesd as taesd

    with torch.device("meta"):
        network = taesd.TAESD(latent_channels=16)
    return {name: tensor for name, tensor in randomize(network, 4).items() if tensor.ndim}
