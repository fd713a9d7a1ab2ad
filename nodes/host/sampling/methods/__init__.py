"""Each identity method on a ComfyUI model."""
