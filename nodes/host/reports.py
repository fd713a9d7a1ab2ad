"""What a node shows of itself after a run: pictures by ComfyUI's own preview, text by web/js/facegen.js."""

import sys

import comfy.utils
from comfy_api.latest import ui
from torch import Tensor

LARGEST = 768  # pixels; a node is seldom wider on a screen


def on_node(text: str, images: Tensor | None = None) -> dict:
    """UI output of a node: lines of text ("" clears what an earlier run left), and pictures [B, H, W, 3] (0-1), reduced.

    ComfyUI writes previews to its temp folder, so there is none where no browser asked for the run: nobody would look, and a
    photo would be left behind.
    """
    shown = {"text": (text,)}
    if images is not None and _watched():
        shown |= ui.PreviewImage(_reduced(images)).as_dict()
    return shown


def _watched() -> bool:
    # Not imported: where the nodes are used without ComfyUI's server, importing its module fails or begins to set one up.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    return getattr(server, "client_id", None) is not None


def _reduced(images: Tensor) -> Tensor:
    height, width = images.shape[1:3]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return images
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return comfy.utils.common_upscale(images.movedim(-1, 1), *size, "area", "disabled").movedim(1, -1)
