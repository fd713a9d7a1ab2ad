"""The Face Generator API, served from inside ComfyUI: requests become graphs in ComfyUI's own queue."""
