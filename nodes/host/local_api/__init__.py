"""The local Face Generator API on ComfyUI's server: its routes, and ComfyUI's queue as its backend."""
