"""Hands the local Face Generator API what it needs of ComfyUI: the route table, the addresses, two folders."""

import sys
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ....api.hosted import profiles
from ....api.local.routes import add_routes
from ...modelslab import profile_file


def register_local_api() -> None:
    """Add the routes to ComfyUI's server, where there is one. They answer that the API is off until a setting turns it on."""
    # Not imported: where the nodes are used without ComfyUI's server, importing its module fails or begins to set one up.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None:
        settings = Path(folder_paths.get_user_directory(), "facegen", "local_api.json")
        add_routes(server.app, server.routes, settings, make_local_api)


def make_local_api():
    from ....api.local.server import LocalApi
    from .comfyui import HostInfo

    info = HostInfo(
        listen=tuple(address.strip() for address in args.listen.split(",")),
        port=args.port,
        tls=bool(args.tls_keyfile and args.tls_certfile),
        temp=Path(folder_paths.get_temp_directory()),
        user=Path(folder_paths.get_user_directory()),
    )
    return LocalApi(info, lambda: profiles.names(profile_file()))
