"""Hands the local Face Generator API what it needs of ComfyUI: the route table, the addresses, the folders, the queue."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import folder_paths
from comfy.cli_args import args

from ....api.local.routes.add_routes import add_routes

if TYPE_CHECKING:
    from ....api.local.routes.local_api import LocalApi


def register_local_api(profiles: Callable[[], Iterable[str]]) -> None:
    """Add the routes to ComfyUI's server, where there is one. They answer that the API is off until a setting turns it on.

    `profiles` names the ModelsLab profiles, for the settings dialog.
    """
    # Not imported: where the nodes are used without ComfyUI's server, importing its module fails or begins to set one up.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None:
        settings = Path(folder_paths.get_user_directory(), "facegen", "local_api.json")
        add_routes(server.app, server.routes, settings, lambda: make_local_api(profiles))


def make_local_api(profiles: Callable[[], Iterable[str]]) -> "LocalApi":
    """The API with ComfyUI's queue as its backend; nothing is in work yet."""
    from ....api.local.routes.local_api import LocalApi
    from .comfy_queue import ComfyQueue
    from .place import comfyui_place

    listen = tuple(address.strip() for address in args.listen.split(","))
    temp, user = Path(folder_paths.get_temp_directory()), Path(folder_paths.get_user_directory())
    place = comfyui_place(listen, args.port, bool(args.tls_keyfile and args.tls_certfile), temp, user)
    return LocalApi(place, ComfyQueue(place.url, temp, place.folder / "workflows"), profiles)
