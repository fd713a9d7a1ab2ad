"""CLIP vision states of face crops: one call for several crops, none for crops seen before."""

import weakref
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...models.face.cache import Cache, pixel_key
from .reports import cancellable

AT_ONCE = 16  # crops in one call; between calls ComfyUI may cancel
CACHED = 16  # faces per CLIP vision model; 1.3 MB each with ViT-H

_remembered: weakref.WeakKeyDictionary[Any, Cache] = weakref.WeakKeyDictionary()  # CLIP vision -> Cache; goes with the model


def encode_clip_vision(clip_vision: Any, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Penultimate states, float32, of the crops [n, 257, width] and of an all-zero normalised picture [1, 257, width].

    The host's encode_image() normalises what it is given and rounds to 8 bits, so the zeros go to its model directly.
    """
    cache = _remembered.setdefault(clip_vision, Cache(CACHED + 1))
    keys = [pixel_key(crop.numpy()) for crop in crops]
    states = {key: cache.peek(key) for key in keys}
    new = [i for i, key in enumerate(keys) if states[key] is None and keys.index(key) == i]
    for start in range(0, len(new), AT_ONCE):
        cancellable(start, len(new))
        part = new[start : start + AT_ONCE]
        encoded = clip_vision.encode_image(crops[part])["penultimate_hidden_states"].float().cpu()
        for i, hidden in zip(part, encoded, strict=True):
            states[keys[i]] = hidden
            cache.put(keys[i], hidden.clone())
    zero = cache.get("zero", lambda: _zero_states(clip_vision))
    return torch.stack([states[key] for key in keys]), zero


def _zero_states(clip_vision: Any) -> Tensor:
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    size = clip_vision.image_size
    zero = torch.zeros(1, 3, size, size, device=clip_vision.load_device)
    hidden: Tensor = clip_vision.model(pixel_values=zero, intermediate_output=-2)[1]
    return hidden.float().cpu()
