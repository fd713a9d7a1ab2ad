"""InstantID on SDXL's real topology at a tenth of its width: adapter, ControlNet and prompts, and one step of the sampler."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_detection
import comfy.model_management
import comfy.samplers
import torch

import comfy_unets
from comfy_sampling import guider
from facegen.models.identity.instantid.adapter import InstantIDAdapter
from faceid_files import faceid_state, random_faces, save
from host_models import fill, randomize

TRAINED_ON = {"recogniser": "glintr100", "model_pack": "antelopev2"}
KPS = [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]]  # in a photo of 112 pixels
FACE = {**TRAINED_ON, "kps": KPS, "bbox": [18.0, 11.0, 94.0, 111.0], "size": [112, 112]}
SIZES = ("height", "width", "crop_h", "crop_w", "target_height", "target_width")  # what SDXL is told, each 512 here
TIMESTEP = 500
SIDE = 8  # of the latent


ONE_LEVEL = {
    "model_channels": 64,
    "num_res_blocks": [1],
    "channel_mult": (1,),
    "transformer_depth": [1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1],
}  # comfy_unets.sdxl(**ONE_LEVEL): four cross-attention blocks


def adapter_state(widths=comfy_unets.XL_WIDTHS, context_dim=2048):
    return faceid_state(widths, context_dim, rank=0, unnorm=True, inner=128)


def adapter(folder, state=None):
    return InstantIDAdapter(save(state or adapter_state(), folder / "instantid.safetensors"))


def person(n=1, seed=3, **kwargs):
    faces = kwargs.pop("faces", (FACE,) * n)
    return random_faces(n, clip=None, seed=seed, faces=faces, **kwargs)


def published_control(seed=4):
    """diffusers' ControlNet beside comfy_unets.sdxl, of random weights; the last layers, too, which are zeros in a new one."""
    import diffusers

    with torch.inference_mode(False), torch.no_grad():
        unet = comfy_unets._diffusers_sdxl(diffusers)
        net = diffusers.ControlNetModel.from_unet(unet, load_weights_from_unet=False).eval()
        net.load_state_dict(randomize(net, seed))
    return net


def host_control(published, monkeypatch, dtype=torch.float32):
    """The same as ComfyUI loads it from a published file, but for the width, by which it knows the model."""
    config = {**comfy_unets.SDXL, "dtype": dtype}
    monkeypatch.setattr(comfy.model_detection, "unet_config_from_diffusers_unet", lambda *_: dict(config))
    return comfy.controlnet.load_controlnet_state_dict({name: t.to(dtype) for name, t in published.state_dict().items()})


def prompts(given):
    """(positive, negative) of ComfyUI, of the second and the first row of `given`."""
    extra = dict.fromkeys(SIZES, 512)
    made = [[[given.context[i : i + 1], {"pooled_output": given.pooled[i : i + 1], **extra}]] for i in (0, 1)]
    return made[1], made[0]


def prompt(seed, **extra):
    """A conditioning as SDXL's text encoders give it."""
    g = torch.Generator().manual_seed(seed)
    text, pooled = torch.randn(1, 7, 2048, generator=g), torch.randn(1, 1280, generator=g)
    return [[text, {"pooled_output": pooled, **dict.fromkeys(SIZES, 512), **extra}]]


def small_control(seed, **changes):
    """A ControlNet of the host that fits ONE_LEVEL, or another base model."""
    return _control({**comfy_unets.SDXL, **ONE_LEVEL, **changes}, seed)


def plain_control(channels, dtype, seed=4):
    """A ControlNet of the host that fits comfy_unets.sdxl of so many channels."""
    return _control({**comfy_unets.SDXL, "model_channels": channels}, seed, dtype)


def _control(config, seed, dtype=torch.float32):
    config = {name: value for name, value in config.items() if name not in ("transformer_depth_output", "out_channels")}
    device = comfy.model_management.get_torch_device()
    net = comfy.cldm.cldm.ControlNet(**config, hint_channels=3, dtype=dtype, device=device)
    fill(net, seed)
    return comfy.controlnet.ControlNet(net, load_device=device)


class Step:
    """One step of ComfyUI's sampler at TIMESTEP, and what the model predicted there: noise [uncond, cond]."""

    def __init__(self, batch=1, size=(SIDE, SIDE)):
        self.noise = torch.randn(batch, 4, *size, generator=torch.Generator().manual_seed(5))

    def __call__(self, model, positive, negative):
        sigma = self.sigma(model)
        seen = []
        watched = model.clone()
        watched.set_model_sampler_cfg_function(lambda args: seen.append([args["uncond"], args["cond"]]) or args["cond"], True)
        guided = guider(watched, conds=(positive, negative))
        sigmas = torch.stack([sigma, torch.zeros(())])
        guided.sample(
            self.noise, torch.zeros_like(self.noise), comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True
        )
        return torch.cat(seen[0]) / sigma

    @staticmethod
    def sigma(model):
        return model.get_model_object("model_sampling").sigmas[TIMESTEP]

    def scaled(self, model):
        """The latent as the network gets it."""
        sigma = self.sigma(model)
        return self.noise * sigma / (sigma**2 + 1) ** 0.5


def caller(patcher, positive, negative, given, sigma=5.0):
    """ControlNets and UNet as the sampler calls them in a step, to be repeated: both sides in one call."""
    control, device, dtype = positive[0][1]["control"], patcher.load_device, patcher.model.diffusion_model.dtype
    comfy.model_management.load_models_gpu([patcher, *control.get_models()])
    control.pre_run(patcher.model, patcher.get_model_object("model_sampling").percent_to_sigma)
    x, context, y = (t.to(device, dtype) for t in (given.x, given.context, given.y))
    t, timestep, sigmas = (torch.full((n,), value, device=device) for n, value in ((2, sigma), (2, 500.0), (1, sigma)))
    options = {**patcher.model_options["transformer_options"], "cond_or_uncond": [1, 0]}
    cond = {"c_crossattn": context, "y": y}
    if (key := "cross_attn_controlnet") in positive[0][1]:  # as another pack has it
        cond["crossattn_controlnet"] = torch.cat([each[0][1][key] for each in (negative, positive)]).to(device, dtype)

    def call():
        told = {**options, "sigmas": sigmas.clone()}  # new in every step
        added = control.get_control(x, t, cond, 2, told)
        return patcher.model.diffusion_model(x, timestep, context, y=y, control=added, transformer_options=told)

    return call
