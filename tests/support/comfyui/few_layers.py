"""CLIP's encoders with few of their layers, which are all alike, in a ComfyUI that imports this: as a custom node of the
server, and in the tests' own process.

A published model's sizes are in ComfyUI's own files, so small files alone don't make it small, and most of a small graph's time
would go into its two texts and its photo. Of texts the number is an option that ComfyUI itself has; of pictures it has none.
"""

import comfy.clip_vision
import comfy.sd

NODE_CLASS_MAPPINGS = {}
LAYERS = 3
TEXT = {f"{name}_model_config": {"num_hidden_layers": LAYERS} for name in ("clip_l", "clip_g")}

load_checkpoint, load_vision = comfy.sd.load_checkpoint_guess_config, comfy.clip_vision.load


def load_low_checkpoint(*args, **kwargs):
    return load_checkpoint(*args, te_model_options=TEXT, **kwargs)


def load_low_vision(path):
    loaded = load_vision(path)
    del loaded.model.vision_model.encoder.layers[LAYERS:]
    return loaded


comfy.sd.load_checkpoint_guess_config, comfy.clip_vision.load = load_low_checkpoint, load_low_vision
