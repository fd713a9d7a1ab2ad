"""Short remarks for the user that are no errors: in the log and, while a graph runs, on the node."""

import logging

from comfy_execution.utils import get_executing_context

log = logging.getLogger(__name__)


def note(text: str) -> None:
    log.warning("FaceGen: %s", text)
    show(text)


def show(text: str) -> None:
    """On the node alone, until the next such text: for what changes every second."""
    context = get_executing_context()
    if context is not None:
        from server import PromptServer  # a graph runs, so the server is there

        PromptServer.instance.send_progress_text(text, context.node_id)
