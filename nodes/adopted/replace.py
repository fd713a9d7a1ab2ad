"""How ComfyUI comes to use our nodes in the old ones' place, where the old pack isn't installed."""

import logging
from typing import Any

import nodes as comfy_nodes
from comfy_api.latest import io

from ...adoption.adopt import adopt_prompt
from ...adoption.old_nodes import OldNode
from ...adoption.which import OLD
from ..host.server import running_server

log = logging.getLogger(__name__)


def adopt_queued_prompts() -> None:
    """Let graphs in API format run as they are, on every ComfyUI.

    Newer ones replace nodes in queued graphs, too, but fail on one that leaves out an optional input, or that has no `_meta`.
    This comes first.
    """
    server = running_server()
    if server is not None:
        server.add_on_prompt_handler(_adopt)


def _adopt(request: dict[str, Any]) -> dict[str, Any]:
    prompt = request.get("prompt")
    if isinstance(prompt, dict) and (done := adopt_prompt(prompt, comfy_nodes.NODE_CLASS_MAPPINGS.__contains__)):
        log.info("FaceGen: adopted in a queued graph: %s", "; ".join(done))
    return request


async def register_replacements() -> None:
    """Let the front end offer our nodes for those that a graph misses. ComfyUI can do this from 0.14 on."""
    if not hasattr(io, "NodeReplace"):
        return
    from comfy_api.latest import ComfyAPI

    api = ComfyAPI()
    for old in OLD.values():
        await api.node_replacement.register(_replacement(old))


def _replacement(old: OldNode) -> Any:
    return io.NodeReplace(
        new_node_id=old.new_id,
        old_node_id=old.id,
        old_widget_ids=[one.name for one in old.widgets],
        input_mapping=[{"new_id": one.name, "old_id": one.name} for one in old.inputs],
        output_mapping=[{"new_idx": slot, "old_idx": slot} for slot in range(len(old.outputs))],
    )
