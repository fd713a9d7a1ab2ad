"""Networks of ours as ComfyUI has its own: loaded by its classes, under its memory management."""
