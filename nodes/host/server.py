"""ComfyUI's server, if one runs in this process."""

import sys
from typing import Any


def running_server() -> Any | None:
    """ComfyUI's PromptServer; None where the nodes are used without one.

    Its module is not imported: without a server that fails, or begins to set one up.
    """
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
