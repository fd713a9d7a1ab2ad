"""OpenCLIP's text encoder in the names of transformers' CLIP."""

from collections.abc import Mapping

from torch import Tensor

from .configs import OPEN_CLIP_LAYERS

NAMES = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
    "text_projection.weight": "text_projection.weight",
}
OF_A_LAYER = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
    "attn.out_proj.": "self_attn.out_proj.",
}
JOINED = "attn.in_proj_"  # queries, keys and values in one matrix


def from_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that transformers knows; others, such as the logit scale, are left out."""
    state = {NAMES[name]: tensor for name, tensor in tensors.items() if name in NAMES}
    if "text_projection" in tensors:
        state["text_projection.weight"] = tensors["text_projection"].T.contiguous()
    for name, tensor in tensors.items():
        if name.startswith(OPEN_CLIP_LAYERS):
            number, _, part = name.removeprefix(OPEN_CLIP_LAYERS).partition(".")
            state |= {f"encoder.layers.{number}.{key}": value for key, value in _of_layer(part, tensor).items()}
    return state


def _of_layer(part: str, tensor: Tensor) -> dict[str, Tensor]:
    if part.startswith(JOINED):
        kind = part.removeprefix(JOINED)
        return {f"self_attn.{letter}_proj.{kind}": third for letter, third in zip("qkv", tensor.chunk(3), strict=True)}
    return {part.replace(old, new): tensor for old, new in OF_A_LAYER.items() if part.startswith(old)}
