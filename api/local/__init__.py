"""The Face Generator API, served from inside ComfyUI: requests become graphs in ComfyUI's own queue."""

NO_FILE = "missing: "  # so begins what our loaders offer in place of a file while there is none
