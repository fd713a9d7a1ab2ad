"""The cross-attention blocks of ComfyUI's UNet."""

from typing import Any

from ....errors import FaceGenError
from ....models.identity.adapter import IdentityAdapter
from ....models.identity.blocks import CrossAttention

FORWARD_ORDER = ("input", "middle", "output")


def matching_blocks(model: Any, adapter: IdentityAdapter) -> list[CrossAttention]:
    """The blocks of the UNet in `model` (a ModelPatcher). Raises FaceGenError unless the adapter fits them."""
    unet = _unet(model, adapter)
    blocks = cross_attention_blocks(unet)
    adapter.match(blocks, _context_dim(unet, blocks))
    return blocks


def is_unet(network: Any) -> bool:
    """Whether it is a UNet such as SD1.5's and SDXL's."""
    return all(hasattr(network, name) for name in ("input_blocks", "middle_block", "output_blocks"))


def _unet(model: Any, adapter: IdentityAdapter) -> Any:
    unet = model.model.diffusion_model
    if not is_unet(unet):
        raise FaceGenError(
            f"{adapter.file.path.name} is {adapter.called()} adapter, made for {adapter.variant.base} models; this one is a "
            f"{type(unet).__name__}. Connect a model from such a checkpoint to `model`: change the file in Load Checkpoint."
        )
    return unet


def cross_attention_blocks(unet: Any) -> list[CrossAttention]:
    """The UNet's cross-attention blocks in the published adapters' order: input, output, middle."""
    parts: list[tuple[tuple[str, int], str, Any]]
    parts = [(("input", i), f"input_blocks.{i}", block) for i, block in enumerate(unet.input_blocks)]
    parts += [(("output", i), f"output_blocks.{i}", block) for i, block in enumerate(unet.output_blocks)]
    parts += [(("middle", 0), "middle_block", unet.middle_block)]
    found = {
        (*key, index): (f"{path}.{place}.transformer_blocks.{index}", transformer.attn2)
        for key, path, block in parts
        for place, layer in enumerate(block or ())
        for index, transformer in enumerate(getattr(layer, "transformer_blocks", ()))
        if transformer.attn2 is not None
    }
    forward = sorted(found, key=lambda key: (FORWARD_ORDER.index(key[0]), *key[1:]))
    return [
        CrossAttention(key, path, attention.to_q.out_features, attention.heads, forward.index(key))
        for key, (path, attention) in found.items()
    ]


def _context_dim(unet: Any, blocks: list[CrossAttention]) -> int:
    return unet.get_submodule(f"{blocks[0].path}.attn2.to_k").in_features if blocks else 0
