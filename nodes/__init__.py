"""What a graph shows. The only package that imports ComfyUI; reached only through `comfy_entrypoint()`."""
