"""SD1.5's real topology at a tenth of its width, as a ComfyUI model and, with the same weights, as diffusers' UNet."""

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch

from host_models import TOPOLOGY, randomize

CHANNELS = 32
SD15 = {
    **TOPOLOGY, "model_channels": CHANNELS, "num_res_blocks": [2] * 4, "channel_mult": (1, 2, 4, 4),
    "transformer_depth": [1] * 6 + [0] * 2, "transformer_depth_output": [1] * 9 + [0] * 3,
}  # fmt: skip
INPUT, OUTPUT = (1, 2, 4, 5, 7, 8), range(3, 12)
BLOCKS = [("input", i, 0) for i in INPUT] + [("output", i, 0) for i in OUTPUT] + [("middle", 0, 0)]  # published order
MULTIPLIERS = (1, 1, 2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1, 4)
WIDTHS = [CHANNELS * m for m in MULTIPLIERS]
DEPTH = {"middle": 6}  # along the forward pass


def sd15(seed=0, channels=CHANNELS):
    """A ModelPatcher, as the checkpoint loader returns."""
    config = comfy.supported_models.SD15({**SD15, "model_channels": channels})
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, device="cpu")
    unet = model.diffusion_model
    unet.load_state_dict(randomize(unet, seed))
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def inputs(batch=2, size=8, seed=9):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 4, size, size, generator=g), torch.randn(batch, 7, 768, generator=g)


def _options(patcher, sides, sigma):
    return {
        **patcher.model_options["transformer_options"],
        "cond_or_uncond": list(sides),
        "sigmas": torch.tensor([sigma]),
    }


def caller(patcher, x, context, sides=(1, 0), sigma=5.0):
    """The UNet call as the sampler makes it, on a loaded model, to be repeated; side 0 is conditional."""
    comfy.model_management.load_models_gpu([patcher])
    timestep, options = torch.full((len(x),), 500.0), _options(patcher, sides, sigma)
    # The sampler hands over a new sigma tensor in every step.
    return lambda: patcher.model.diffusion_model(
        x, timestep, context, transformer_options={**options, "sigmas": options["sigmas"].clone()}
    )


def predict(patcher, x, context, sides=(1, 0), sigma=5.0):
    """One call of the UNet; the model is left unpatched."""
    out = caller(patcher, x, context, sides, sigma)()
    patcher.detach()
    return out


def first_block(patcher, x, context):
    """What leaves the first block with cross-attention."""
    seen = []
    patched = patcher.clone()
    patched.set_model_input_block_patch(lambda h, options: seen.append(h.clone()) or h)
    predict(patched, x, context)
    return seen[1]


def diffusers_faceid(patcher, state, faces, weight, s_scale, lora_strength, x, context):
    """What diffusers' own FaceID makes of the same weights: the oracle."""
    import diffusers

    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=[CHANNELS * m for m in SD15["channel_mult"]], layers_per_block=2,
        cross_attention_dim=768, attention_head_dim=8,
    ).eval()  # fmt: skip
    ours = patcher.model.diffusion_model.state_dict()
    names = comfy.utils.unet_to_diffusers(SD15)
    unet.load_state_dict({theirs: ours[name] for theirs, name in names.items() if name in ours})
    pipe = diffusers.StableDiffusionPipeline(
        vae=None, text_encoder=None, tokenizer=None, unet=unet, scheduler=diffusers.DDIMScheduler(), safety_checker=None,
        feature_extractor=None, image_encoder=None, requires_safety_checker=False,
    )  # fmt: skip
    with torch.inference_mode(False):
        pipe.load_ip_adapter(state, subfolder=None, weight_name=None, image_encoder_folder=None)
        pipe.set_ip_adapter_scale(weight)
        pipe.set_adapters(pipe.get_active_adapters(), lora_strength)
    projection = unet.encoder_hid_proj.image_projection_layers[0]
    projection.shortcut, projection.shortcut_scale = True, s_scale
    projection.clip_embeds = torch.stack([faces.clip_hidden_zero.expand_as(faces.clip_hidden), faces.clip_hidden])
    identity = torch.stack([torch.zeros_like(faces.identity), faces.normed_identity])
    return unet(x, torch.tensor(500), context, added_cond_kwargs={"image_embeds": [identity]}).sample
