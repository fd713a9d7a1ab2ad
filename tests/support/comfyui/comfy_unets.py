"""SD1.5's and SDXL's real topologies at a tenth of their width, as ComfyUI models and, with the same weights, in diffusers."""

from dataclasses import dataclass

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch

from host_models import TOPOLOGY, XL_TOPOLOGY, fill

CHANNELS = 32
SD15 = {
    **TOPOLOGY,
    "model_channels": CHANNELS,
    "num_res_blocks": [2] * 4,
    "channel_mult": (1, 2, 4, 4),
    "transformer_depth": [1] * 6 + [0] * 2,
    "transformer_depth_output": [1] * 9 + [0] * 3,
}
SDXL = {
    **XL_TOPOLOGY,
    "model_channels": CHANNELS,
    "channel_mult": (1, 2, 4),
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
}
# Cross-attention blocks in the published order: input, output, middle.
BLOCKS = [("input", i, 0) for i in (1, 2, 4, 5, 7, 8)] + [("output", i, 0) for i in range(3, 12)] + [("middle", 0, 0)]
MULTIPLIERS = (1, 1, 2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1, 4)
XL_BLOCKS = [("input", i, j) for i, n in ((4, 2), (5, 2), (7, 10), (8, 10)) for j in range(n)]
XL_BLOCKS += [("output", i, j) for i, n in ((0, 10), (1, 10), (2, 10), (3, 2), (4, 2), (5, 2)) for j in range(n)]
XL_BLOCKS += [("middle", 0, j) for j in range(10)]
XL_MULTIPLIERS = (2,) * 4 + (4,) * 50 + (2,) * 6 + (4,) * 10
WIDTHS, XL_WIDTHS = ([CHANNELS * m for m in multipliers] for multipliers in (MULTIPLIERS, XL_MULTIPLIERS))
DEPTH = {"middle": 6}  # along the forward pass


def sd15(seed=0, channels=CHANNELS, dtype=torch.float32, **unet):
    """A ModelPatcher, as the checkpoint loader returns."""
    return _patcher(comfy.supported_models.SD15, {**SD15, "model_channels": channels, **unet}, seed, dtype)


def sdxl(seed=0, channels=CHANNELS, dtype=torch.float32, **unet):
    return _patcher(comfy.supported_models.SDXL, {**SDXL, "model_channels": channels, **unet}, seed, dtype)


def _patcher(kind, unet_config, seed, dtype):
    config = kind(unet_config)
    config.set_inference_dtype(dtype, None)
    device = comfy.model_management.get_torch_device()
    model = config.get_model({}, device=device)
    fill(model.diffusion_model, seed)
    return comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu"))


@dataclass
class Inputs:
    """What a UNet is called with: latents x, text context and, for SDXL, the vector y (made of pooled text and time ids)."""

    x: torch.Tensor
    context: torch.Tensor
    pooled: torch.Tensor | None = None
    time_ids: torch.Tensor | None = None

    @property
    def y(self):
        from diffusers.models.embeddings import Timesteps

        if self.pooled is None:
            return None
        times = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)(self.time_ids.flatten())
        return torch.cat([self.pooled, times.reshape(len(self.x), -1)], dim=1)


def inputs(batch=2, size=8, seed=9, tokens=7):
    """x and context for SD1.5."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 4, size, size, generator=g), torch.randn(batch, tokens, 768, generator=g)


def xl_inputs(batch=2, size=8, seed=9, tokens=7):
    g = torch.Generator().manual_seed(seed)
    x, context = torch.randn(batch, 4, size, size, generator=g), torch.randn(batch, tokens, 2048, generator=g)
    return Inputs(x, context, torch.randn(batch, 1280, generator=g), torch.full((batch, 6), 512.0))


def _options(patcher, sides, sigma):
    return {
        **patcher.model_options["transformer_options"],
        "cond_or_uncond": list(sides),
        "sigmas": torch.tensor([sigma]),
    }


def caller(patcher, x, context, sides=(1, 0), sigma=5.0, y=None, through=lambda network: network):
    """The UNet call as the sampler makes it, on a loaded model, to be repeated; side 0 is conditional.

    through: what is called instead of the network, made of it: compiled, for example."""
    comfy.model_management.load_models_gpu([patcher])
    device, dtype = patcher.load_device, patcher.model.diffusion_model.dtype
    x, context = x.to(device, dtype), context.to(device, dtype)
    extra = {} if y is None else {"y": y.to(device, dtype)}
    timestep, options = torch.full((len(x),), 500.0, device=device), _options(patcher, sides, sigma)
    sigmas, network = options["sigmas"].to(device), through(patcher.model.diffusion_model)
    # The sampler hands over a new sigma tensor in every step.
    return lambda: network(x, timestep, context, transformer_options={**options, "sigmas": sigmas.clone()}, **extra)


def predict(patcher, x, context, sides=(1, 0), sigma=5.0, y=None):
    """One call of the UNet; the model is left unpatched."""
    out = caller(patcher, x, context, sides, sigma, y)()
    patcher.detach()
    return out


def first_block(patcher, x, context):
    """What leaves the first block with cross-attention."""
    seen = []
    patched = patcher.clone()
    patched.set_model_input_block_patch(lambda h, options: seen.append(h.clone()) or h)
    predict(patched, x, context)
    return seen[1]


class Diffusers:
    """The oracle: diffusers' own FaceID on a UNet with the weights of `patcher` and the adapter in `state`."""

    @torch.inference_mode(False)  # diffusers makes parameters of what it loads
    @torch.no_grad()
    def __init__(self, patcher, state, shortcut=True, dtype=torch.float32):
        import diffusers

        config, self.device = patcher.model.model_config.unet_config, patcher.load_device
        xl, channels = "num_classes" in config, config["model_channels"]
        with torch.device("meta"):  # where no weights are drawn that others replace
            self.unet = (_diffusers_sdxl if xl else _diffusers_sd15)(diffusers, channels).eval()
        ours, names = patcher.model.diffusion_model.state_dict(), comfy.utils.unet_to_diffusers(SDXL if xl else SD15)
        given = {theirs: ours[names[theirs]].to(self.device, dtype, copy=True) for theirs in self.unet.state_dict()}
        self.unet.load_state_dict(given, assign=True)
        self.pipe = diffusers.StableDiffusionPipeline(
            vae=None,
            text_encoder=None,
            tokenizer=None,
            unet=self.unet,
            scheduler=diffusers.DDIMScheduler(),
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
        )
        state = {part: {name: t.clone() for name, t in tensors.items()} for part, tensors in state.items()}
        self.pipe.load_ip_adapter(state, subfolder=None, weight_name=None, image_encoder_folder=None)
        self.projection = self.unet.encoder_hid_proj.image_projection_layers[0]
        self.shortcut, self.dtype = shortcut, dtype
        self.lora = any("_lora" in name for name in state["ip_adapter"])
        self.unnorm = "latents" in state["image_proj"]

    def predict(self, faces, given, weight=1.0, s_scale=1.0, lora_strength=1.0, timestep=500, **residuals):
        self.pipe.set_ip_adapter_scale(weight)
        if self.lora:
            with torch.inference_mode(False):
                self.pipe.set_adapters(self.pipe.get_active_adapters(), lora_strength)
        identity = faces.identity if self.unnorm else faces.normed_identity
        images = torch.stack([torch.zeros_like(identity), identity]).to(self.device, self.dtype)
        if self.unnorm:
            images = images[:, :, None]  # its resampler reads a sequence, of one embedding
        if hasattr(self.projection, "clip_embeds"):
            self.projection.shortcut, self.projection.shortcut_scale = self.shortcut, s_scale
            states = torch.stack([faces.clip_hidden_zero.expand_as(faces.clip_hidden), faces.clip_hidden])
            self.projection.clip_embeds = states.to(self.device, self.dtype)
        conditions = {"image_embeds": [images]}
        if given.pooled is not None:
            texts, sizes = given.pooled.to(self.device, self.dtype), given.time_ids.to(self.device)
            conditions |= {"text_embeds": texts, "time_ids": sizes}
        x, context = (t.to(self.device, self.dtype) for t in (given.x, given.context))
        return self.unet(x, torch.tensor(timestep), context, added_cond_kwargs=conditions, **residuals).sample


def _diffusers_sd15(diffusers, channels):
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[channels * m for m in SD15["channel_mult"]],
        layers_per_block=2,
        cross_attention_dim=768,
        attention_head_dim=8,
    )


def _diffusers_sdxl(diffusers, channels=CHANNELS):
    widths = [channels * m for m in SDXL["channel_mult"]]
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=widths,
        layers_per_block=2,
        cross_attention_dim=2048,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=[max(1, width // 64) for width in widths],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
