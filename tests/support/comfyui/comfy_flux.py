"""FLUX.1's topology at a small part of its size, as a ComfyUI model, and one evaluation of it by ComfyUI's own guider."""

import contextlib
import dataclasses

import comfy.ldm.flux.model
import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import comfy.supported_models
import torch

from host_models import fill

WIDTH, DOUBLE, SINGLE = 128, 3, 5  # published: 3072, 19, 38
LAYERS = 4  # of PuLID: after double blocks 0 and 2 and single blocks 0 and 4
CONTEXT, TEXT = 96, 7
CONFIG = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 64,
    "context_in_dim": CONTEXT,
    "hidden_size": WIDTH,
    "mlp_ratio": 4.0,
    "num_heads": 8,
    "depth": DOUBLE,
    "depth_single_blocks": SINGLE,
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}


def known(config):
    """What this ComfyUI's FLUX.1 can be told of it."""
    names = {field.name for field in dataclasses.fields(comfy.ldm.flux.model.FluxParams)} | {"image_model"}
    return {name: value for name, value in config.items() if name in names}


def flux(seed=0, dtype=torch.float32, computes_in=None, **changes):
    """A ModelPatcher, as the diffusion model loader returns; `computes_in` where that isn't the weights' own dtype."""
    config = comfy.supported_models.Flux(known({**CONFIG, **changes}))
    config.set_inference_dtype(dtype, computes_in)
    device = comfy.model_management.get_torch_device()
    model = config.get_model({}, device=device)
    fill(model.diffusion_model, seed)
    return comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu"))


PUBLISHED = {
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
}  # flux(**PUBLISHED): 12 billion weights


def prompt(seed, tokens=TEXT, config=CONFIG, **extra):
    g = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, config["vec_in_dim"], generator=g)
    text = torch.randn(1, tokens, config["context_in_dim"], generator=g)
    return [[text, {"pooled_output": pooled, "guidance": 3.5, **extra}]]


def latents(batch=1, size=(8, 8), seed=9):
    return torch.randn(batch, 16, *size, generator=torch.Generator().manual_seed(seed))


def evaluate(model, x, positive=None, negative=None, cfg=1.0, sigma=0.7, kind=comfy.samplers.CFGGuider):
    """What the model takes for the picture in `x` at this sigma. cfg 1 is the positive side alone, cfg 0 the negative one."""
    seen = []

    def step(call, noise, sigmas, extra_args=None, callback=None, disable=None):
        seen.append(call(x.to(noise), torch.full((len(x),), sigma, device=noise.device), **extra_args))
        return noise

    guider = kind(model)
    guider.set_conds(positive or prompt(1), negative or prompt(2))
    guider.set_cfg(cfg)
    sigmas = torch.tensor([sigma, 0.0])
    guider.sample(x, torch.zeros_like(x), comfy.samplers.KSAMPLER(step), sigmas, disable_pbar=True, seed=7)
    return seen[0]


def caller(patcher, x, positive=None):
    """The network's call in an evaluation without guidance, to be repeated on a loaded model."""
    network, seen = patcher.model.diffusion_model, []
    forward = network.forward

    def keep(*args, **kwargs):
        seen.append((args, kwargs))
        return forward(*args, **kwargs)

    network.forward = keep
    try:
        evaluate(patcher, x, positive, positive)
    finally:
        del network.forward
    comfy.model_management.load_models_gpu([patcher, *patcher.get_nested_additional_models()])
    ((args, kwargs),) = seen
    return lambda: forward(*args, **kwargs)


@contextlib.contextmanager
def hooked(model, places, add, text=TEXT, tokens=16):
    """Within, after each block that is in `places` the picture's states [batch, tokens, width] get add(number of the place,
    states); by torch's hooks on the blocks themselves, of which ComfyUI knows nothing."""
    network = model.model.diffusion_model
    blocks = {"double": network.double_blocks, "single": network.single_blocks}

    def hook(number, part):
        def after(_module, _args, out):
            states = out[0] if part == "double" else out
            start = 0 if part == "double" else text
            picture = states[:, start : start + tokens]
            states = torch.cat([states[:, :start], picture + add(number, picture), states[:, start + tokens :]], dim=1)
            return (states, out[1]) if part == "double" else states

        return after

    handles = [blocks[part][at].register_forward_hook(hook(number, part)) for number, (part, at) in enumerate(places)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
