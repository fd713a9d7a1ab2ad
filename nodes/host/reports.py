"""What a node shows of itself: progress and warnings while it runs, and a report after the run.

Pictures are shown by ComfyUI's own preview, a report's text by web/js/facegen.js.
"""

import logging
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import ui
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ...models.pictures import Watch
from .server import running_server

LARGEST = 768  # pixels; a node is seldom wider on a screen

log = logging.getLogger(__name__)


def report(text: str, images: Tensor | None = None) -> dict[str, Any]:
    """UI output of a node: lines of text ("" clears what an earlier run left), and pictures [B, H, W, 3] (0-1), reduced.

    ComfyUI writes previews to its temp folder, so there is none where no browser asked for the run: nobody would look, and a
    photo would be left behind.
    """
    shown: dict[str, Any] = {"text": (text,)}
    if images is not None and getattr(running_server(), "client_id", None) is not None:
        shown |= ui.PreviewImage(_reduced(images)).as_dict()
    return shown


def warn(text: str) -> None:
    """A short remark that is no error: in the log and, while a graph runs, on the node."""
    log.warning("FaceGen: %s", text)
    show_progress(text)


def show_progress(text: str) -> None:
    """On the running node alone, until the next such text: for what changes every second."""
    context, server = get_executing_context(), running_server()
    if context is not None and server is not None:
        server.send_progress_text(text, context.node_id)


def cancellable(_done: int, _of: int) -> None:
    """A Watch that ends the work when ComfyUI's cancel button was pressed."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def progress() -> Watch:
    """A Watch that also moves the running node's progress bar, where there are several pictures."""
    bars: list[comfy.utils.ProgressBar] = []

    def watch(done: int, of: int) -> None:
        cancellable(done, of)
        if of > 1:
            bars[:] = bars or [comfy.utils.ProgressBar(of)]
            bars[0].update_absolute(done, of)

    return watch


def _reduced(images: Tensor) -> Tensor:
    height, width = images.shape[1:3]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return images
    size = max(1, round(width * scale)), max(1, round(height * scale))
    reduced: Tensor = comfy.utils.common_upscale(images.movedim(-1, 1), *size, "area", "disabled").movedim(1, -1)
    return reduced
