"""What the pack adds to ComfyUI: its nodes, its model folders and the local API's routes."""

from comfy_api.latest import ComfyExtension, io

from . import face, face_embeds, faceid, instantid, likeness, modelslab, pulid, safety, sampler, style, tiny
from .host.folders import register_model_folders
from .host.local_api.register import register_local_api

# In the order in which ComfyUI's menus list them.
FAMILIES = (face, face_embeds, likeness, faceid, instantid, pulid, style, sampler, safety, modelslab, tiny)


class FaceGenExtension(ComfyExtension):
    def __init__(self) -> None:
        register_model_folders()
        register_local_api()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for family in FAMILIES for node in family.NODES]
