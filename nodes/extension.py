"""What the pack adds to ComfyUI: its nodes, its model folders and the local API's routes."""

from comfy_api.latest import ComfyExtension, io

from . import face, face_embeds, faceid, instantid, likeness, modelslab, pulid, safety, sampler, style, tiny
from .adopted import instantid as adopted_instantid
from .adopted import ip_adapter as adopted_ip_adapter
from .adopted import pulid as adopted_pulid
from .adopted.replace import adopt_queued_prompts, register_replacements
from .host.folders import register_model_folders
from .host.local_api.register import register_local_api

# In the order in which ComfyUI's menus list them.
FAMILIES = (face, face_embeds, likeness, faceid, instantid, pulid, style, sampler, safety, modelslab, tiny)
ADOPTED = (adopted_ip_adapter, adopted_instantid, adopted_pulid)


class FaceGenExtension(ComfyExtension):
    def __init__(self) -> None:
        register_model_folders()
        register_local_api()
        adopt_queued_prompts()

    async def on_load(self) -> None:
        """Called by ComfyUIs that let one node replace another."""
        await register_replacements()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for family in (*FAMILIES, *ADOPTED) for node in family.NODES]
