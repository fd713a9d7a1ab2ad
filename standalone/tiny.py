"""Tiny model files from a seed: the whole path on a machine that has no weights.

The files have the formats, names and tensor layouts of the real ones, at widths that a CPU runs in seconds. Nothing in
them is trained: they demonstrate the wiring (a face goes in, its identity changes the picture) and never a likeness.
"""

import json
from pathlib import Path

from .tiny_onnx import save_detector, save_recogniser

NAME = "tiny"
CONTEXT_DIM = 64  # width of text and FaceID tokens; a multiple of 64, the resampler's head width
CLIP_DIM = 64  # one attention head of width 64, as in ViT-L: heads = width // 64
ID_DIM = 512
TOKENS = 4
LORA_RANK = 4
RESAMPLER_DEPTH = 4
UNET_WIDTHS = (16, 48, 96, 96)
HEADS = (1, 2, 2, 2)  # per level; the first has the most pixels, where attention costs most
VAE_WIDTHS = (8, 16, 16, 16)
NORM_GROUPS = 2  # the first eight channels are a group of their own: see _let_noise_through
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def build_tiny(folder: Path, seed: int = 0) -> None:
    """Write a complete ComfyUI models folder of untrained models; one seed always gives the same bytes.

    checkpoints/tiny/
        a diffusers StableDiffusionPipeline with SD1.5's blocks at small widths; context [77, 64], latents [4, H/8, W/8]
    ipadapter/ip-adapter-faceid-plusv2_tiny.safetensors
        identity [512] and CLIP states [257, 64] to 4 tokens of width 64, keys and values for 16 blocks, LoRA for 32
    clip_vision/tiny.safetensors
        CLIPVisionModelWithProjection: 224 pixels in patches of 14, width 64 in one head of 64, gelu
    insightface/models/tiny/
        SCRFD's and ArcFace's signatures: a constructed detector of one large frontal face, a random embedding [512]

    Files of the same names are overwritten. A picture made with these shows coloured shapes that follow the face, the
    prompt and the seed; it never shows the person.
    """
    import torch

    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        unet = _unet()
        _save_checkpoint(unet, folder / "checkpoints" / NAME)
        _save(_adapter(unet), folder / "ipadapter" / f"ip-adapter-faceid-plusv2_{NAME}.safetensors")
        _save(_clip_vision().state_dict(), folder / "clip_vision" / f"{NAME}.safetensors")
    pack = folder / "insightface" / "models" / NAME
    pack.mkdir(parents=True, exist_ok=True)
    save_detector(pack / f"det_{NAME}.onnx")
    save_recogniser(pack / f"w_{NAME}.onnx", seed)


def _save(tensors: dict, path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, path, metadata={"format": "pt"})


def _randomise(module, gain: float = 1.0):
    """Weights of variance gain² / inputs, zero biases, unit norms: signals keep their size at any width.

    Convolutions blur while they mix channels, so that what they draw has shapes rather than grain.
    """
    import torch

    blur = torch.tensor([1.0, 2.0, 1.0]) / 6**0.5  # unit energy
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.ndim == 1:
                weight.fill_(1.0)
            elif weight.ndim == 4 and weight.shape[2:] == (3, 3):
                mix = torch.randn(*weight.shape[:2], 1, 1) * gain * weight.shape[1] ** -0.5
                weight.copy_(mix * torch.outer(blur, blur))
            else:
                weight.normal_(0, gain * weight[0].numel() ** -0.5)
    return module.eval()


# --- checkpoint -----------------------------------------------------------------------------------------------------


def _save_checkpoint(unet, folder: Path) -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    _save_tokenizer(folder / "tokenizer")
    pipe = StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=_text_encoder(),
        tokenizer=_load_tokenizer(folder / "tokenizer"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_config(folder)
    for name in ("unet", "vae", "scheduler"):
        getattr(pipe, name).save_pretrained(folder / name)
    # By hand: transformers shows a progress bar, and only some of its versions write the published `text_model.`.
    text_encoder = pipe.text_encoder
    names = {name.removeprefix("text_model."): tensor for name, tensor in text_encoder.state_dict().items()}
    _save({f"text_model.{n}": t for n, t in names.items()}, folder / "text_encoder" / "model.safetensors")
    text_encoder.config.architectures = ["CLIPTextModel"]
    text_encoder.config.save_pretrained(folder / "text_encoder")


def _unet():
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=UNET_WIDTHS,
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=CONTEXT_DIM,
        attention_head_dim=HEADS,  # diffusers' name for it
        norm_num_groups=NORM_GROUPS,
    )
    _randomise(unet)
    _let_noise_through(unet)
    return unet


def _let_noise_through(unet, detail: float = 0.15) -> None:
    """Make the prediction `the input itself, at unit size` + `detail` x whatever the random network says.

    A denoiser that answers with its input takes the noise away; what remains of the picture is then what the prompt and
    the face say, not noise. The input travels as +x and -x on the first eight channels, over the last skip connection,
    through norm and SiLU to the last convolution: silu(x) - silu(-x) = x.
    """
    import torch

    size, last = unet.conv_in.in_channels, unet.up_blocks[-1]
    block, attention = last.resnets[-1], last.attentions[-1]
    hidden = block.conv_shortcut.in_channels - unet.conv_in.out_channels  # the skip's channels come after these
    with torch.no_grad():
        unet.conv_in.weight[: 2 * size] = 0
        for c in range(size):
            unet.conv_in.weight[c, c, 1, 1] = 1
            unet.conv_in.weight[size + c, c, 1, 1] = -1
        for weight in (block.conv_shortcut.weight, block.conv2.weight, attention.proj_out.weight):
            weight[: 2 * size] = 0
        unet.conv_out.weight *= detail
        unet.conv_out.weight[:, : 2 * size] = 0
        for c in range(size):
            block.conv_shortcut.weight[c, hidden + c] = 1
            block.conv_shortcut.weight[size + c, hidden + size + c] = 1
            unet.conv_out.weight[c, c, 1, 1] = 1
            unet.conv_out.weight[c, size + c, 1, 1] = -1


def _vae():
    """Latents [B, 4, H/8, W/8]; the decoder's last convolution is set so that colours fill their range."""
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        block_out_channels=VAE_WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    )
    _randomise(vae)
    last = vae.decoder.conv_out
    with torch.no_grad():
        latents = torch.nn.functional.interpolate(torch.randn(8, 4, 4, 4) * 2, size=(16, 16), mode="bilinear")
        picture = vae.decode(latents / vae.config.scaling_factor).sample  # [8, 3, 128, 128] in -1..1
        scale = 0.5 / picture.std(dim=(0, 2, 3))
        shift = -scale * picture.mean(dim=(0, 2, 3))
        # Rounded, because the last digits of a convolution depend on the number of threads.
        last.weight *= scale.round(decimals=2)[:, None, None, None]
        last.bias.copy_(shift.round(decimals=2))
    return vae


def _text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModel

    bos, eos = len(_vocabulary()) - 2, len(_vocabulary()) - 1
    config = CLIPTextConfig(
        vocab_size=eos + 1,
        hidden_size=CONTEXT_DIM,
        intermediate_size=2 * CONTEXT_DIM,
        projection_dim=CONTEXT_DIM,
        num_hidden_layers=2,
        num_attention_heads=1,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    return _randomise(CLIPTextModel(config), gain=5.0)


def _vocabulary() -> dict[str, int]:
    """Byte-level alphabet in CLIP's order: 256 bytes, 256 bytes that end a word, two marks. It can spell any text."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # bytes that print as themselves
    letters = [chr(b) for b in shown] + [chr(0x100 + n) for n in range(256 - len(shown))]
    tokens = letters + [letter + "</w>" for letter in letters] + [BOS, EOS]
    return {token: number for number, token in enumerate(tokens)}


def _save_tokenizer(folder: Path) -> None:
    marks = {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **marks}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "vocab.json": json.dumps(_vocabulary(), ensure_ascii=False),
        "merges.txt": "#version: 0.2\n",
        "special_tokens_map.json": json.dumps(marks, indent=2),
        "tokenizer_config.json": json.dumps(config, indent=2),
    }.items():
        (folder / name).write_text(content, encoding="utf-8", newline="\n")


def _load_tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


# --- face -----------------------------------------------------------------------------------------------------------


def _clip_vision():
    """Hidden states [B, 257, 64], the last but one of which FaceID-Plus reads."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=CLIP_DIM,
        intermediate_size=2 * CLIP_DIM,
        projection_dim=CLIP_DIM,
        num_hidden_layers=3,
        num_attention_heads=CLIP_DIM // 64,
        image_size=224,
        patch_size=14,
        hidden_act="gelu",  # as in ViT-H
    )
    return _randomise(CLIPVisionModelWithProjection(config))


def _adapter(unet) -> dict:
    """FaceID-Plus v2 in the published names; processors are numbered down, up, middle, self-attention before cross."""
    tensors = {f"image_proj.{name}": tensor for name, tensor in _image_projection().items()}
    for number, name in enumerate(unet.attn_processors):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        width, context = attention.to_q.in_features, attention.to_k.in_features
        prefix = f"ip_adapter.{number}."
        for part, inputs in {"q": width, "k": context, "v": context, "out": width}.items():
            tensors[f"{prefix}to_{part}_lora.down.weight"] = _matrix(LORA_RANK, inputs)
            tensors[f"{prefix}to_{part}_lora.up.weight"] = _matrix(width, LORA_RANK, gain=0.2)
        if name.endswith("attn2.processor"):
            tensors[f"{prefix}to_k_ip.weight"] = _matrix(width, context, gain=0.5)
            tensors[f"{prefix}to_v_ip.weight"] = _matrix(width, context, gain=0.5)
    return tensors


def _image_projection() -> dict:
    """The identity's MLP and the resampler that reads the CLIP states, in the published names."""
    tensors = {
        # A normalised identity has entries around 512 ** -0.5; the gain makes the hidden units see them.
        **_linear("proj.0", 2 * ID_DIM, ID_DIM, gain=ID_DIM**0.5),
        **_linear("proj.2", TOKENS * CONTEXT_DIM, 2 * ID_DIM),
        **_norm("norm"),
        **_linear("perceiver_resampler.proj_in", CONTEXT_DIM, CLIP_DIM),
        **_linear("perceiver_resampler.proj_out", CONTEXT_DIM, CONTEXT_DIM),
        **_norm("perceiver_resampler.norm_out"),
    }
    for depth in range(RESAMPLER_DEPTH):
        attention, feed = (f"perceiver_resampler.layers.{depth}.{part}" for part in (0, 1))
        tensors |= _norm(f"{attention}.norm1") | _norm(f"{attention}.norm2") | _norm(f"{feed}.0")
        tensors[f"{attention}.to_q.weight"] = _matrix(CONTEXT_DIM, CONTEXT_DIM, gain=3.0)
        tensors[f"{attention}.to_kv.weight"] = _matrix(2 * CONTEXT_DIM, CONTEXT_DIM)
        tensors[f"{attention}.to_out.weight"] = _matrix(CONTEXT_DIM, CONTEXT_DIM)
        tensors[f"{feed}.1.weight"] = _matrix(4 * CONTEXT_DIM, CONTEXT_DIM)
        tensors[f"{feed}.3.weight"] = _matrix(CONTEXT_DIM, 4 * CONTEXT_DIM)
    return tensors


def _linear(name: str, outputs: int, inputs: int, gain: float = 1.0) -> dict:
    import torch

    return {f"{name}.weight": _matrix(outputs, inputs, gain), f"{name}.bias": torch.zeros(outputs)}


def _norm(name: str) -> dict:
    import torch

    return {f"{name}.weight": torch.ones(CONTEXT_DIM), f"{name}.bias": torch.zeros(CONTEXT_DIM)}


def _matrix(outputs: int, inputs: int, gain: float = 1.0):
    import torch

    return torch.randn(outputs, inputs) * (gain * inputs**-0.5)
