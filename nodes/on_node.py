"""What a node shows of itself after a run: pictures by ComfyUI's own preview, text by web/js/facegen.js."""

import comfy.utils
from comfy_api.latest import ui
from server import PromptServer
from torch import Tensor

LARGEST = 768  # pixels; a node is seldom wider on a screen


def on_node(text: str = "", images: Tensor | None = None) -> dict:
    """UI output of a node: lines of text, and pictures [B, H, W, 3] (0-1) reduced to a preview.

    The preview is written to ComfyUI's temp folder, so there is none where no browser asked for the run: nobody would look.
    """
    shown = {"text": (text,)} if text else {}
    if images is not None and getattr(getattr(PromptServer, "instance", None), "client_id", None):
        shown |= ui.PreviewImage(_reduced(images)).as_dict()
    return shown


def _reduced(images: Tensor) -> Tensor:
    height, width = images.shape[1:3]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return images
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return comfy.utils.common_upscale(images.movedim(-1, 1), *size, "area", "disabled").movedim(1, -1)
