"""The same request without ComfyUI, on diffusers."""
