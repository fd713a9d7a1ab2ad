"""ComfyUI-FaceGen: portraits of a person from one face photo, a prompt and a style."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> "ComfyExtension":
    """ComfyUI's door to the pack. Nothing is imported before ComfyUI asks for it."""
    from .nodes.extension import FaceGenExtension

    return FaceGenExtension()
