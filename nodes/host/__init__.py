"""How this pack talks to ComfyUI. Nodes use it; it knows no node."""
