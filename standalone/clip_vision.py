"""CLIP vision from a bare state dict, as it lies in ComfyUI's clip_vision folder."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.clip import CLIPVisionConfig, CLIPVisionModelWithProjection

from ..errors import FaceGenError

HEADS = {768: 12, 1024: 16, 1280: 16, 1664: 16}  # published widths; others have heads of 64
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipVision:
    """Raises FaceGenError when the file holds no CLIP vision model."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype):
        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise FaceGenError(f"{path} can't be read: {error}. Download it again.") from error
        try:
            model = CLIPVisionModelWithProjection(_config(state))
            model.load_state_dict({k: v for k, v in state.items() if not k.endswith("position_ids")})
        except (KeyError, RuntimeError) as error:
            raise FaceGenError(f"{path} is not a CLIP vision model with projection: {error}") from error
        self.model = model.to(device, dtype).eval()

    @torch.inference_mode()
    def states(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Penultimate states, float32 on the CPU, of RGB crops [n, 224, 224, 3] (0-1) and of one all-zero picture."""
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
        pixels = (crops.movedim(-1, 1) - mean) / std
        pixels = torch.cat([pixels, torch.zeros_like(pixels[:1])]).to(self.model.device, self.model.dtype)
        hidden = self.model(pixels, output_hidden_states=True).hidden_states[-2].float().cpu()
        return hidden[:-1], hidden[-1:]


def _config(state: dict[str, Tensor]) -> CLIPVisionConfig:
    width, _, patch, _ = state["vision_model.embeddings.patch_embedding.weight"].shape
    positions = len(state["vision_model.embeddings.position_embedding.weight"]) - 1
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=len(state["vision_model.encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=sum(name.endswith(".layer_norm1.weight") for name in state),
        num_attention_heads=HEADS.get(width, width // 64),
        patch_size=patch,
        image_size=round(positions**0.5) * patch,
        projection_dim=len(state["visual_projection.weight"]),
        hidden_act="quick_gelu" if width == 1024 else "gelu",  # OpenAI's ViT-L; the others were trained by LAION
    )
