"""EVA02-CLIP-L at 336 pixels, of which PuLID reads the output and five hidden states. The network is timm's.

Source: https://github.com/baaivision/EVA (EVA-CLIP); arXiv:2303.15389.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import MissingLibraryError, WrongStructureFileError
from ...identity.adapter_file import AdapterFile

MODEL = "eva02_large_patch14_clip_336"  # timm's name
SIDE = 336  # pixels
READ_BEFORE = (4, 8, 12, 16, 20)  # PuLID reads the states that enter these blocks, counted from 0
HEAD_DIM = 64
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
START = "blocks.0.attn.q_proj.weight"  # what tells its prefix: "visual." in EVA-CLIP's own file, none in timm's


class VisionTower(nn.Module):
    """RGB pictures [B, 3, 336, 336] (0-1, or a little beyond) to the output [B, 768], not normalised, and the states
    [B, 5, 577, 1024], class token first."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (MEAN, STD))
        last, states = self.network.forward_intermediates(
            (pictures - mean) / std,
            indices=[block - 1 for block in READ_BEFORE],
            return_prefix_tokens=True,
            output_fmt="NLC",
        )
        whole = [torch.cat([prefix, patches], dim=1) for patches, prefix in states]
        return self.network.forward_head(last), torch.stack(whole, dim=1)

    @classmethod
    def load(cls, path: Path) -> "VisionTower":
        """From EVA-CLIP's EVA02_CLIP_L_336_psz14_s6B.pt or timm's model.safetensors of the same.

        Raises UnreadableFileError, WrongStructureFileError when the file holds something else, MissingLibraryError without
        timm.
        """
        file = AdapterFile(path)
        prefix = next((name.removesuffix(START) for name in sorted(file) if name.endswith(START)), None)
        if prefix is None:
            raise _other(path, f"it lacks {START}", file)
        create_model, renamed = _timm()
        sizes = {name.removeprefix(prefix): file.shape(name) for name in file if name.startswith(prefix)}
        try:
            network = create_model(MODEL, **_arguments(sizes))
        except KeyError as error:
            raise _other(path, f"it lacks {error}", file) from error
        except (IndexError, ValueError, ArithmeticError, AssertionError, RuntimeError) as error:
            raise _other(path, f"its tensors have other shapes ({error})", file) from error
        blocks, side = len(network.blocks), network.patch_embed.img_size[0]
        if blocks <= READ_BEFORE[-1] or side != SIDE:
            raise _other(path, f"it has {blocks} blocks and reads pictures of {side} pixels", file)
        state = {name: file[prefix + name] for name in sizes}
        try:
            network.load_state_dict(renamed(state, network))
        except RuntimeError as error:
            raise _other(path, str(error).splitlines()[-1].strip(), file) from error
        return cls(network).float().eval().requires_grad_(False)


def _arguments(sizes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """What sets a network of these sizes apart from the published one."""
    _, positions, width = sizes["pos_embed"]
    patch = sizes["patch_embed.proj.weight"][-1]
    first = "blocks.0.mlp.w1.weight" if "blocks.0.mlp.w1.weight" in sizes else "blocks.0.mlp.fc1_g.weight"
    return {
        "img_size": patch * round((positions - 1) ** 0.5),
        "patch_size": patch,
        "embed_dim": width,
        "depth": len({name.split(".")[1] for name in sizes if name.startswith("blocks.")}),
        "num_heads": width // HEAD_DIM,
        "mlp_ratio": (sizes[first][0] + 0.5) / width,  # timm rounds down
        "num_classes": sizes["head.weight"][0],
    }


def _timm() -> tuple[Any, Any]:
    try:
        from timm.models import create_model
        from timm.models.eva import checkpoint_filter_fn
    except ImportError as error:
        raise MissingLibraryError(
            f"PuLID's vision tower needs the library timm, which can't be imported: {error}.", "pip install timm"
        ) from error
    return create_model, checkpoint_filter_fn


def _other(path: Path, why: str, file: AdapterFile) -> WrongStructureFileError:
    held = f"This file holds {len(file)} tensors{': ' + ', '.join(sorted(file)[:4]) + ', …' if len(file) else ''}."
    return WrongStructureFileError(
        f"{path} is not the vision tower EVA02-CLIP-L-14-336: {why}.",
        f"EVA02_CLIP_L_336_psz14_s6B.pt, or timm's {MODEL}, is needed. {held}",
    )
