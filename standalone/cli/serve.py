"""`serve`: the Face Generator API, and a page for people, from this process alone."""

import argparse
import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...api.local.config import TOKEN_VARIABLE, ConfigError, ConfigFile
from ...api.local.flavours import FLAVOURS, FLAVOURS_WITH_FLUX, TINY, Flavour
from ...api.local.place import Place
from ...errors import FaceGenError, advise
from ...models.style import style_files
from .comfyui_options import add_comfyui_arguments, comfyuis
from .common import add_models_argument, libraries
from .generate import CURES, TINY_NOTICE, find_files, load_engine, use_one_thread
from .ray_options import RAY_REQUIREMENTS, add_ray_arguments, scale_of

if TYPE_CHECKING:
    from ..cluster.backend import RayBackend
    from ..server.engines import Engines
    from ..server.metrics import Metrics
    from ..server.queue.room import Room
    from ..server.serving import Loading, Server

PORT = 8199
DRAIN = 30.0
AUTO = "auto"
DATA = ".facegen"  # in the home folder


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `serve` to the commands."""
    parser = commands.add_parser("serve", help="the Face Generator API and a web page, without ComfyUI")
    add_models_argument(parser)
    parser.add_argument(
        "--listen", default="127.0.0.1", help="Addresses to listen on, with commas between. Default: 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"Default: {PORT}.")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path.home() / DATA,
        help=f"Folder for local_api.json, the settings, and for requests and results. Default: {DATA} in your home folder.",
    )
    parser.add_argument(
        "--jobs",
        default="",
        metavar="URL",
        help="PostgreSQL database of the requests, where several servers share them, such as postgresql://user@host/name. "
        "It needs --results, too. A password belongs into `jobs` of the settings or into libpq's password file.",
    )
    parser.add_argument(
        "--results",
        default="",
        metavar="PLACE",
        help="Folder or URL, such as s3://bucket/folder, for pictures and uploads. Default: in the folder of --data.",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=DRAIN,
        metavar="SECONDS",
        help=f"How long a stop waits for what is in work; a second signal doesn't wait. Default: {DRAIN:g}.",
    )
    parser.add_argument(
        "--batch",
        default=AUTO,
        metavar="N",
        help="How many pictures are made at once when several requests wait that have models, size, steps, guidance and "
        f"safety_checker in common. It takes more memory; nobody waits for others. {AUTO}, the default, tries on a GPU whether "
        "more at once take less time each, and makes one at a time without a GPU, with --ray and with --comfyui.",
    )
    add_ray_arguments(parser)
    add_comfyui_arguments(parser)
    parser.set_defaults(run=run)


@advise("", CURES)
def run(options: argparse.Namespace) -> None:
    """Serve until Ctrl+C or SIGTERM. Raises FaceGenError for what the user can fix."""
    if options.drain < 0:
        raise FaceGenError(f"--drain is {options.drain:g}; it must be 0 or more seconds.")
    place = place_of(options)
    settings, most = check_settings(place), most_at_once(options)
    try:
        server = make_server(options, place, settings, most)
        asyncio.run(server.run())
    finally:
        if options.ray is not None:
            leave_ray(options.ray)


def place_of(options: argparse.Namespace) -> Place:
    """This process, as the API tells of it."""
    folder: Path = options.data.absolute()
    file = folder / "local_api.json"
    return Place(
        program="serve",
        listen=tuple(address.strip() for address in options.listen.split(",")),
        port=options.port,
        tls=False,
        folder=folder,
        photos=folder / "photos",
        turn_on=f"set enabled in {file.name} of its data folder to true.",
        set_token=f"Set {TOKEN_VARIABLE}, or token in {file}.",
        is_on=True,
        flavours=built_in(options.models),
        jobs=options.jobs,
        results=options.results if "://" in options.results or not options.results else str(Path(options.results).absolute()),
    )


def built_in(models: str) -> Mapping[str, Flavour]:
    """The flavours that there are without settings: FLUX.1's only where there is FLUX.1."""
    if models == TINY:
        return FLAVOURS
    with libraries():
        from ..server.engines import has_flux
    return FLAVOURS_WITH_FLUX if has_flux(Path(models)) else FLAVOURS


def check_settings(place: Place) -> ConfigFile:
    """The settings, readable and fit for where it listens. Raises FaceGenError, and makes the data folder."""
    try:
        place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise FaceGenError(f"{place.folder} can't be made: {error.strerror}. Give another folder with --data.") from error
    with libraries():
        from ...api.local.routes.access import why_unavailable

    file = ConfigFile(place.folder / "local_api.json", style_files, place.is_on, place.flavours)
    if reason := why_unavailable(file.read(), place):
        raise ConfigError(reason)
    return file


def make_server(options: argparse.Namespace, place: Place, settings: ConfigFile, most: int | None) -> "Server":
    """The server, with nothing loaded yet. Raises FaceGenError where files or libraries are missing."""
    with libraries():
        from ..server.logs import log_as_json
        from ..server.metrics import Metrics
    from ..server.serving import Server

    log_as_json()
    metrics = Metrics()
    if options.comfyui:
        backend: Loading = comfyuis(options, settings, place.folder)
        flavours = settings.read().flavours
        first = flavours[settings.read().default or next(iter(flavours))]
    else:
        backend, first = engine_backend(options, settings, metrics, most)
    return Server(place, backend, metrics, first, options.drain)


def most_at_once(options: argparse.Namespace) -> int | None:
    """How many pictures may be made at once; None for as many as pay. Raises FaceGenError for a --batch that can't be."""
    if options.batch == AUTO:
        return None
    try:
        most = int(options.batch)
    except ValueError:
        most = 0
    if most < 1:
        raise FaceGenError(f"--batch is {options.batch}; it must be {AUTO}, or 1 or more.")
    for name in ("ray", "comfyui"):
        if most > 1 and getattr(options, name):
            raise FaceGenError(
                f"--batch is for the engine of this process; with --{name}, each engine makes one request at a time."
            )
    return most


def engine_backend(
    options: argparse.Namespace, settings: ConfigFile, metrics: "Metrics", most: int | None
) -> "tuple[Loading, Flavour]":
    """The engine, in this process or by Ray, and the flavour whose models are loaded at once. Raises FaceGenError where files
    or libraries are missing."""
    with libraries():
        from ..server.backend import EngineBackend
        from ..server.engines import Engines

    tiny = options.models == TINY
    if tiny:
        logging.info(TINY_NOTICE)
        use_one_thread()
    engines = Engines(None if tiny else Path(options.models), lambda files: load_engine(files, checks=True))
    first = first_flavour(engines, settings)
    if options.ray is not None:
        return ray_backend(options, engines), first
    return EngineBackend(engines, metrics, room_of(most)), first


def room_of(most: int | None) -> "Room":
    """For so many pictures at once; None for as many as pay on a GPU, and for one at a time without a GPU."""
    from ..memory import usual_device
    from ..server.queue.room import MeasuredRoom, Room

    if most is None and usual_device().type != "cpu":
        return MeasuredRoom()
    return Room(most or 1)


def ray_backend(options: argparse.Namespace, engines: "Engines") -> "RayBackend":
    """The backend that hands everything to Ray, which is reached and has the application when this returns."""
    with libraries(RAY_REQUIREMENTS):
        from ..cluster.backend import RayBackend
        from ..cluster.connection import deployed, reach
    scale = scale_of(options)
    reach(options.ray)
    logging.info("FaceGen: Ray: %s; from %d to %d engines", options.ray, scale.least, scale.most)
    return RayBackend(deployed(scale, again=options.replicas is not None), engines, scale.max_queued)


def leave_ray(address: str) -> None:
    """At the end, whatever it was."""
    with libraries(RAY_REQUIREMENTS):
        from ..cluster.connection import leave
    leave(address)


def first_flavour(engines: "Engines", settings: ConfigFile) -> Flavour:
    """The flavour whose models are loaded at the start: the one that the settings name, else the first that has its files.

    Raises FaceGenError where there is none.
    """
    config = settings.read()
    if engines.models is None:
        return config.flavours[TINY]
    tried = [config.default] if config.default else [name for name in config.flavours if name != TINY]
    lacks = {name: engines.files_of(config.flavours[name]).missing for name in tried}
    for name in tried:
        if not lacks[name]:
            return config.flavours[name]
    find_files(engines.models, {})  # says how to get what is missing altogether
    raise FaceGenError(" ".join(f"{name}: {' '.join(why)}" for name, why in lacks.items()))
