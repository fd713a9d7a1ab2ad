"""ComfyUI, as a program beside it sees it: what is asked of it over HTTP, and the graph that a request becomes there."""
