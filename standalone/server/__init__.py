"""The Face Generator API from one process without ComfyUI: aiohttp in front, the engine behind it in a thread of its own."""
