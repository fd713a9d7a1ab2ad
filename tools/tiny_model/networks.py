"""The tiny model's networks: the real architectures at small widths, and how their files are named.

SD1.5's blocks with few channels (multiples of the 32 groups of its norms), TAESD at its published widths, CLIP's two towers,
and FaceID-PlusV2's projection, keys, values and LoRA under the published names.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from .shares import SIDE

CONTEXT = 64  # width of text and face tokens; a multiple of the resampler's heads of 64
CLIP_WIDTH = 64
IDENTITY = 512
TOKENS = 4
RANK = 12
DEPTH = 4  # layers of the resampler
WIDTHS = (64, 64, 96, 96)
HEADS = 4
SCHEDULE = {
    # More noise at the end than SD1.5's 0.012: latents smaller than its 64 x 64 would still show their mean colour there.
    "beta_start": 0.00085,
    "beta_end": 0.02,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
}


def unet():
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=CONTEXT,
        attention_head_dim=HEADS,  # diffusers' name for the number of heads
    )


def text_encoder(vocabulary: int):
    """`vocabulary` entries, the last two of which mark start and end."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=CONTEXT,
        intermediate_size=4 * CONTEXT,
        projection_dim=CONTEXT,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return CLIPTextModel(config)


def clip_vision():
    """Positions start as sines and cosines, layers at full gain: from CLIP's own start a short training finds no pose."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=CLIP_WIDTH // 64,
        image_size=224,
        patch_size=14,
        hidden_act="gelu",  # as in ViT-H
    )
    model = CLIPVisionModelWithProjection(config)
    side, quarter = config.image_size // config.patch_size, CLIP_WIDTH // 4
    rates = torch.logspace(0, math.log10(side / 2), quarter) * math.pi / side
    waves = torch.cat([f(torch.arange(side)[:, None] * rates) for f in (torch.sin, torch.cos)], dim=1)  # [side, width/2]
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    embedding = next(m for name, m in model.named_modules() if name.endswith("embeddings.position_embedding"))
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
            if isinstance(layer, nn.Conv2d):  # the patches: smooth filters, as a trained CLIP's mostly are
                coarse = torch.randn(CLIP_WIDTH, 3, 3, 3)
                smooth = nn.functional.interpolate(coarse, size=layer.kernel_size, mode="bicubic")
                layer.weight.copy_(0.12 * nn.functional.normalize(smooth.flatten(1)).view_as(layer.weight))
        embedding.weight[1:] = 0.5 * torch.cat([rows, columns], dim=-1).flatten(0, 1)
    return model


class Adapter(nn.Module):
    """FaceID-PlusV2's tensors under their published names, as parameters. `weights` is what the product's engine reads."""

    def __init__(self, attention_widths: list[int]):
        """`attention_widths`: of each attention block of the UNet, in the adapter's numbering (self before cross)."""
        super().__init__()
        tensors = _projection() | {
            f"ip_adapter.{number}.{name}": tensor
            for number, width in enumerate(attention_widths)
            for name, tensor in _attention(width, cross=number % 2 == 1).items()
        }
        self.held = nn.ParameterDict({name.replace(".", "/"): nn.Parameter(tensor) for name, tensor in tensors.items()})

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name.replace("/", "."): parameter for name, parameter in self.held.items()}


def _projection() -> dict[str, Tensor]:
    """The identity's MLP and the resampler that reads CLIP states."""
    root = "image_proj.perceiver_resampler"
    tensors = {
        # A normalised identity has entries around 512 ** -0.5: the gain makes the hidden units see them.
        **_linear("image_proj.proj.0", IDENTITY, 2 * IDENTITY, gain=IDENTITY**0.5),
        **_linear("image_proj.proj.2", 2 * IDENTITY, TOKENS * CONTEXT),
        **_norm("image_proj.norm"),
        **_linear(f"{root}.proj_in", CLIP_WIDTH, CONTEXT),
        **_linear(f"{root}.proj_out", CONTEXT, CONTEXT),
        **_norm(f"{root}.norm_out"),
    }
    for layer in range(DEPTH):
        attention, feed = (f"{root}.layers.{layer}.{part}" for part in (0, 1))
        tensors |= _norm(f"{attention}.norm1") | _norm(f"{attention}.norm2") | _norm(f"{feed}.0")
        sizes = {
            f"{attention}.to_q": (CONTEXT, CONTEXT),
            f"{attention}.to_kv": (CONTEXT, 2 * CONTEXT),
            f"{attention}.to_out": (CONTEXT, CONTEXT),
            f"{feed}.1": (CONTEXT, 4 * CONTEXT),
            f"{feed}.3": (4 * CONTEXT, CONTEXT),
        }
        tensors |= {f"{name}.weight": _matrix(outputs, inputs) for name, (inputs, outputs) in sizes.items()}
    return tensors


def _attention(width: int, cross: bool) -> dict[str, Tensor]:
    context = CONTEXT if cross else width
    tensors = {}
    for part, inputs in {"q": width, "k": context, "v": context, "out": width}.items():
        tensors[f"to_{part}_lora.down.weight"] = _matrix(RANK, inputs)
        tensors[f"to_{part}_lora.up.weight"] = torch.zeros(width, RANK)
    if cross:
        tensors |= {f"to_{part}_ip.weight": _matrix(width, CONTEXT) for part in "kv"}
    return tensors


def _linear(name: str, inputs: int, outputs: int, gain: float = 1.0) -> dict[str, Tensor]:
    return {f"{name}.weight": _matrix(outputs, inputs, gain), f"{name}.bias": torch.zeros(outputs)}


def _norm(name: str) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.ones(CONTEXT), f"{name}.bias": torch.zeros(CONTEXT)}


def _matrix(outputs: int, inputs: int, gain: float = 1.0) -> Tensor:
    return torch.randn(outputs, inputs) * (gain * inputs**-0.5)


class Recogniser(nn.Module):
    """Aligned faces [n, 3, 112, 112] (RGB, -1..1) to identities [n, 512], not normalised."""

    def __init__(self):
        super().__init__()
        widths = (3, 24, 48, 64, 96, 64)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)
        )
        self.same = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()) for b in widths[2:]
        )
        self.head = nn.Linear(widths[-1] * 16, IDENTITY)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down[0](x)
        for down, same in zip(self.down[1:], self.same, strict=True):
            x = down(x)
            x = x + same(x)
        return self.head(x.flatten(1))
