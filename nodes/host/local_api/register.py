"""Hands the local Face Generator API what it needs of ComfyUI: the route table, the addresses, the folders, the queue."""

from pathlib import Path
from typing import TYPE_CHECKING

import folder_paths
from comfy.cli_args import args

from ....api.hosted import profiles
from ....api.local.routes.add_routes import add_routes
from ..folders import local_api_file, modelslab_file, styles_folder
from ..server import running_server

if TYPE_CHECKING:
    from ....api.local.routes.local_api import LocalApi


def register_local_api() -> None:
    """Add the routes to ComfyUI's server, where there is one. They answer that the API is off until a setting turns it on."""
    server = running_server()
    if server is not None:
        add_routes(server.app, server.routes, local_api_file(), make_local_api)


def make_local_api() -> "LocalApi":
    """The API with ComfyUI's queue as its backend; nothing is in work yet."""
    from ....api.local.routes.local_api import LocalApi
    from ....models.style import style_files
    from .comfy_queue import ComfyQueue
    from .place import comfyui_place

    listen = tuple(address.strip() for address in args.listen.split(","))
    temp, user = Path(folder_paths.get_temp_directory()), Path(folder_paths.get_user_directory())
    tls = bool(args.tls_keyfile and args.tls_certfile)
    place = comfyui_place(listen, args.port, tls, temp, user, lambda: style_files(styles_folder()))
    return LocalApi(place, ComfyQueue(place.url, temp, place.folder / "workflows"), lambda: profiles.names(modelslab_file()))
