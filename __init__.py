"""ComfyUI-FaceGen: portraits of a person from one face photo, a prompt and a style."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI's door to the pack. Nothing is imported before ComfyUI asks for it."""
    from .nodes.extension import FaceGenExtension

    return FaceGenExtension()
