"""Hands the local Face Generator API what it needs of ComfyUI: the route table, the addresses, two folders."""

from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ....api.hosted import profiles
from ....api.local.routes import add_routes
from ..folders import local_api_file, modelslab_file
from ..server import running_server


def register_local_api() -> None:
    """Add the routes to ComfyUI's server, where there is one. They answer that the API is off until a setting turns it on."""
    server = running_server()
    if server is not None:
        add_routes(server.app, server.routes, local_api_file(), make_local_api)


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
    return LocalApi(info, lambda: profiles.names(modelslab_file()))
