"""Small checkpoints of SD1.5 and SDXL, with their topology and reduced widths: as diffusers folders, and as single files in the
published names. Weights are random."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from facegen.models.tiny_files import CLIP_VISION, TINY
from facegen.standalone.checkpoints.clip_tokenizer import clip_merges, save_tokenizer
from faceid_files import faceid_state, save
from onnx_files import save_pack
from pulid_files import save as save_state
from pulid_files import sdxl_state
from structure_files import parsing_state, tower_state

FACES = [(0.35, 0.12, 0.55, 0.38, 0.95)]  # the astronaut's
WIDTHS = {"SD1.5": (64, 64, 128, 128), "SDXL": (64, 64, 128)}
CONTEXT = {"SD1.5": 64, "SDXL": 192}  # SDXL: two text encoders, of 64 and 128
TOWER = 64  # width of PuLID's vision tower
POOLED, SIZES = 128, 32  # SDXL: width of the pooled text, and of each number about sizes
# Widths of the cross-attention blocks in the published order: down, up, middle.
BLOCKS = {
    "SD1.5": [*[64] * 4, *[128] * 2, *[128] * 3, *[64] * 6, 128],
    "SDXL": [*[64] * 2, *[128] * 4, *[128] * 6, *[64] * 3, *[128] * 2],
}


def unet(base: str, seed=0, **config):
    import diffusers

    torch.manual_seed(seed)
    widths = WIDTHS[base]
    if base == "SDXL":
        config = {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": tuple(width // 64 for width in widths),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZES,
            "projection_class_embeddings_input_dim": POOLED + 6 * SIZES,
        } | config
    return diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=widths, layers_per_block=2, cross_attention_dim=CONTEXT[base], **config
    ).eval()


def save_folder(base: str, folder: Path, seed=0, dtype=torch.float32, variant=None, scheduler=None) -> Path:
    """A diffusers folder, written by diffusers' own pipeline."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    pads = ("<|endoftext|>", "!")[: 2 if base == "SDXL" else 1]
    for number, pad in enumerate(pads):
        save_tokenizer(folder.parent / f"pad{number}", clip_merges(), pad)
    tokenizers = [CLIPTokenizer.from_pretrained(folder.parent / f"pad{number}") for number in range(len(pads))]
    parts = {"unet": unet(base, seed), "tokenizer": tokenizers[0]}
    torch.manual_seed(seed + 1)
    text = {"intermediate_size": 128, "projection_dim": POOLED}
    text |= {"bos_token_id": 49406, "eos_token_id": 49407, "initializer_factor": 4.0}
    parts["text_encoder"] = CLIPTextModel(
        CLIPTextConfig(hidden_size=64, num_attention_heads=1, num_hidden_layers=2, hidden_act="quick_gelu", **text)
    )
    if base == "SDXL":
        config = CLIPTextConfig(hidden_size=POOLED, num_attention_heads=2, num_hidden_layers=3, hidden_act="gelu", **text)
        encoder = CLIPTextModelWithProjection(config)
        parts |= {"text_encoder_2": encoder, "tokenizer_2": tokenizers[1]}
    parts["vae"] = diffusers.AutoencoderKL(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=0.13025 if base == "SDXL" else 0.18215,
    )
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    parts["scheduler"] = diffusers.EulerDiscreteScheduler(**noise, timestep_spacing="leading", **(scheduler or {}))
    if base == "SDXL":
        pipe = diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        pipe = diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipe.to(dtype).save_pretrained(folder, variant=variant)
    return folder


def save_single(folder: Path, path: Path, more=()) -> Path:
    """The weights of a folder in one file, in the names in which checkpoints are published. `more`: empty tensors beside."""
    from safetensors.torch import load_file

    def weights(part):
        (file,) = (folder / part).glob("*.safetensors")
        return load_file(file)

    xl = (folder / "text_encoder_2").is_dir()
    state = published_unet_state(weights("unet"))
    state |= {f"first_stage_model.{published_vae(name)}": _as_convolution(name, t) for name, t in weights("vae").items()}
    start = "conditioner.embedders.0" if xl else "cond_stage_model"
    clip = weights("text_encoder").items()
    state |= {f"{start}.transformer.text_model.{name.removeprefix('text_model.')}": t for name, t in clip}
    if xl:
        clip_g = {name.removeprefix("text_model."): t for name, t in weights("text_encoder_2").items()}
        state |= {f"conditioner.embedders.1.model.{name}": t for name, t in published_clip_g(clip_g).items()}
        state["conditioner.embedders.1.model.logit_scale"] = torch.zeros(())
    # What published files hold beside, and nobody reads.
    state |= {
        f"{start}.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "alphas_cumprod": torch.ones(9),
    }
    save_file({name: t.contiguous() for name, t in state.items()} | {name: torch.zeros(0) for name in more}, path)
    return path


def published_unet_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """diffusers' UNet in the names of a single file."""
    attended = {name.split(".")[1] for name in state if name.startswith("up_blocks.") and ".attentions." in name}
    return {f"model.diffusion_model.{published_unet(name, attended)}": tensor for name, tensor in state.items()}


def published_unet(name: str, attended: set[str], layers=2) -> str:
    """The name that Stability's own code gives a tensor of diffusers' UNet. attended: the way up's blocks with attention."""
    first, *rest = name.split(".")
    if first == "down_blocks":
        number, kind, place = int(rest[0]), rest[1], int(rest[2])
        if kind == "downsamplers":
            return f"input_blocks.{(number + 1) * (layers + 1)}.0.op.{rest[-1]}"
        inside = 1 if kind == "attentions" else 0
        return f"input_blocks.{1 + number * (layers + 1) + place}.{inside}.{_resnet(kind, rest[3:])}"
    if first == "up_blocks":
        number, kind, place = int(rest[0]), rest[1], int(rest[2])
        block = number * (layers + 1) + place
        if kind == "upsamplers":
            return f"output_blocks.{block + layers}.{2 if rest[0] in attended else 1}.conv.{rest[-1]}"
        return f"output_blocks.{block}.{1 if kind == 'attentions' else 0}.{_resnet(kind, rest[3:])}"
    if first == "mid_block":
        place = 1 if rest[0] == "attentions" else 2 * int(rest[1])
        return f"middle_block.{place}.{_resnet(rest[0], rest[2:])}"
    for ours, theirs in OUTER.items():
        if name.startswith(ours):
            return name.replace(ours, theirs)
    raise KeyError(name)


OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _resnet(kind: str, rest: list[str]) -> str:
    return ".".join([RESNET[rest[0]], *rest[1:]] if kind == "resnets" else rest)


VAE_NAMES = (
    (".mid_block.resnets.0.", ".mid.block_1."),
    (".mid_block.resnets.1.", ".mid.block_2."),
    (".mid_block.attentions.0.group_norm.", ".mid.attn_1.norm."),
    (".mid_block.attentions.0.to_q.", ".mid.attn_1.q."),
    (".mid_block.attentions.0.to_k.", ".mid.attn_1.k."),
    (".mid_block.attentions.0.to_v.", ".mid.attn_1.v."),
    (".mid_block.attentions.0.to_out.0.", ".mid.attn_1.proj_out."),
    (".downsamplers.0.", ".downsample."),
    (".upsamplers.0.", ".upsample."),
    (".resnets.", ".block."),
    ("conv_shortcut", "nin_shortcut"),
    ("conv_norm_out", "norm_out"),
)


def published_vae(name: str, levels=4) -> str:
    for ours, theirs in VAE_NAMES:
        name = name.replace(ours, theirs)
    for number in range(levels):
        name = name.replace(f"encoder.down_blocks.{number}.", f"encoder.down.{number}.")
        name = name.replace(f"decoder.up_blocks.{number}.", f"decoder.up.{levels - 1 - number}.")
    return name


def _as_convolution(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor[..., None, None] if ".attentions.0.to_" in name and tensor.ndim == 2 else tensor


def published_clip_g(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """In OpenCLIP's names, with queries, keys and values in one matrix."""
    published = {}
    for name, tensor in state.items():
        if name.startswith("encoder.layers."):
            number, _, part = name.removeprefix("encoder.layers.").partition(".")
            layer = f"transformer.resblocks.{number}"
            if (letter := part.removeprefix("self_attn.")[0]) in "qkv" and "_proj" in part and "out" not in part:
                if letter == "q":
                    three = [state[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
                    published[f"{layer}.attn.in_proj_{part.rsplit('.', 1)[1]}"] = torch.cat(three)
                continue
            for ours, theirs in CLIP_G_LAYER.items():
                part = part.replace(ours, theirs)
            published[f"{layer}.{part}"] = tensor
        else:
            published[CLIP_G[name]] = tensor.T if name == "text_projection.weight" else tensor
    return published


CLIP_G = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}
CLIP_G_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def controlnet(seed=7, **config):
    """diffusers' ControlNet for the small SDXL, with no layer of zeros: one that was trained has none."""
    import diffusers

    torch.manual_seed(seed)
    widths = WIDTHS["SDXL"]
    config = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "block_out_channels": widths,
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": tuple(width // 64 for width in widths),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZES,
        "projection_class_embeddings_input_dim": POOLED + 6 * SIZES,
        "cross_attention_dim": CONTEXT["SDXL"],
        "conditioning_embedding_out_channels": (16, 32, 48, 64),
    } | config
    network = diffusers.ControlNetModel(**config).eval()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network


def save_sdxl_models(folder: Path, scratch: Path) -> Path:
    """A models folder with SDXL, and FaceID, InstantID and PuLID for it, in `folder`; `scratch` is an empty folder."""
    for name in ("checkpoints", "ipadapter", "instantid", "controlnet", "clip_vision"):
        (folder / name).mkdir()
    checkpoint = save_folder("SDXL", scratch / "folder", dtype=torch.float16)
    save_single(checkpoint, folder / "checkpoints" / "small sdxl.safetensors")
    state = faceid_state(BLOCKS["SDXL"], CONTEXT["SDXL"], clip_dim=64, depth=1)
    save(state, folder / "ipadapter" / "ip-adapter-faceid-plusv2_sdxl.bin")
    (folder / CLIP_VISION).write_bytes((TINY / CLIP_VISION).read_bytes())
    state = faceid_state(BLOCKS["SDXL"], CONTEXT["SDXL"], rank=0, unnorm=True, depth=1, inner=128)
    save(state, folder / "instantid" / "ip-adapter.bin")
    save_file(controlnet().state_dict(), folder / "controlnet" / "instantid-controlnet.safetensors")
    save_pack(folder / "insightface" / "models" / "buffalo_l", FACES)
    pack = save_pack(folder / "insightface" / "models" / "antelopev2", FACES, seed=1)
    (pack / "w600k_r50.onnx").rename(pack / "glintr100.onnx")
    save_pulid(sdxl_state(BLOCKS["SDXL"], CONTEXT["SDXL"], depth=5, states=TOWER), folder, "pulid_v1.1.safetensors")
    return folder


def save_pulid(state: dict[str, torch.Tensor], folder: Path, name: str) -> None:
    """A PuLID file and the two networks that it needs, in a models folder."""
    for kind in ("pulid", "facexlib", "clip_vision"):
        (folder / kind).mkdir(exist_ok=True)
    save_state(state, folder / "pulid" / name)
    save_state(tower_state(width=TOWER), folder / "clip_vision" / "EVA02_CLIP_L_336_psz14_s6B.pt")
    save_state(parsing_state(), folder / "facexlib" / "parsing_bisenet.pth")
