"""Small safety checkers in the published formats, with random weights."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from facegen.models.networks import stay

VISION = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 192,
    "image_size": 64,
    "patch_size": 16,
    "hidden_act": "quick_gelu",
}
PROJECTION = 96


def concept_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """A safety checker's tensors under the published names, two levels of `vision_model` and all."""
    g = torch.Generator().manual_seed(seed)
    width, hidden, patch = VISION["hidden_size"], VISION["intermediate_size"], VISION["patch_size"]
    positions = (VISION["image_size"] // patch) ** 2 + 1

    def random(*shape):
        return torch.randn(shape, generator=g) / (torch.Size(shape[1:]).numel() ** 0.5 if len(shape) > 1 else 4)

    def linear(name, outputs, inputs):
        return {f"{name}.weight": random(outputs, inputs), f"{name}.bias": random(outputs)}

    def norm(name):
        return {f"{name}.weight": 1 + random(width), f"{name}.bias": random(width)}

    root = "vision_model.vision_model."
    state = {
        f"{root}embeddings.class_embedding": random(width),
        f"{root}embeddings.patch_embedding.weight": 8 * random(width, 3, patch, patch),
        f"{root}embeddings.position_embedding.weight": random(positions, width),
        f"{root}embeddings.position_ids": torch.arange(positions)[None],
        **norm(f"{root}pre_layrnorm"),
        **norm(f"{root}post_layernorm"),
        "visual_projection.weight": random(PROJECTION, width),
        "concept_embeds": random(17, PROJECTION),
        "special_care_embeds": random(3, PROJECTION),
        "concept_embeds_weights": torch.full((17,), 0.2),
        "special_care_embeds_weights": torch.full((3,), 0.2),
    }
    for i in range(VISION["num_hidden_layers"]):
        layer = f"{root}encoder.layers.{i}."
        for part in ("q", "k", "v", "out"):
            state |= linear(f"{layer}self_attn.{part}_proj", width, width)
        state |= linear(f"{layer}mlp.fc1", hidden, width) | linear(f"{layer}mlp.fc2", width, hidden)
        state |= norm(f"{layer}layer_norm1") | norm(f"{layer}layer_norm2")
    return state


def diffusers_checker(state: dict[str, torch.Tensor]):
    """diffusers' own safety checker with these weights."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    vision = {**VISION, "projection_dim": PROJECTION}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=PROJECTION)).eval()
    known = checker.state_dict()
    nested = any(name.startswith("vision_model.vision_model.") for name in known)  # by the version of transformers
    names = {n if nested else n.replace("vision_model.vision_model.", "vision_model."): n for n in state}
    checker.load_state_dict({name: state[names[name]] for name in known})
    return checker


def save_concepts(state: dict[str, torch.Tensor], path: Path) -> Path:
    """As a file; or as published, in a folder with its configuration, when `path` has no suffix."""
    file = path if path.suffix else path / "model.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file, {"format": "pt"})
    if not path.suffix:
        config = {"architectures": ["StableDiffusionSafetyChecker"], "model_type": "clip", "vision_config": VISION}
        (path / "config.json").write_text(json.dumps(config))
    return path


def save_classifier(folder: Path, labels=("normal", "nsfw"), seed: int = 0, sharpness: float = 30, **config) -> Path:
    """A ViT that classifies images, written by transformers itself."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(seed)
    model = ViTForImageClassification(
        ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            **config,
        )
    ).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(sharpness)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


class Placed:
    """A `networks.Place` that leaves the network where it is and shows it: `network`, and how many pictures each pass had."""

    def __call__(self, network):
        self.network, self.passes = network, []
        network.register_forward_hook(lambda _, inputs, __: self.passes.append(len(inputs[0])))
        return stay(network)
