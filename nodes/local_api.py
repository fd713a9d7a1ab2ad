"""Hands the local Face Generator API what it needs of ComfyUI: the route table, the addresses, two folders."""

from pathlib import Path

import folder_paths
from comfy.cli_args import args
from server import PromptServer

from ..api.local.host import HostInfo
from ..api.server import LocalApi


def register_local_api() -> None:
    """Add the routes to ComfyUI's server, where there is one. They answer that the API is off until a setting turns it on."""
    server = getattr(PromptServer, "instance", None)
    if server is None:  # the nodes are used without a server
        return
    info = HostInfo(
        listen=tuple(address.strip() for address in args.listen.split(",")),
        port=args.port,
        tls=bool(args.tls_keyfile and args.tls_certfile),
        temp=Path(folder_paths.get_temp_directory()),
        user=Path(folder_paths.get_user_directory()),
    )
    LocalApi(info).register(server.app, server.routes)
