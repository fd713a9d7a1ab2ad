"""`batch`: a file of requests to a folder of pictures, without a server."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...api.local.config import ConfigFile, LocalConfig
from ...errors import FaceGenError, advise
from ...models.style import style_files
from .common import add_models_argument, libraries, say
from .generate import CURES, TINY, TINY_NOTICE, load_engine, use_one_thread
from .ray_options import RAY_REQUIREMENTS, add_ray_arguments, scale_of
from .serve import DATA, built_in

if TYPE_CHECKING:
    from ..batch.pieces import Pieces
    from ..batch.run import Batch
    from ..server.engines import Engines

GO_ON = "The same command goes on from here."


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `batch` to the commands."""
    parser = commands.add_parser("batch", help="a file of requests to a folder of pictures, without a server")
    parser.add_argument(
        "file",
        type=Path,
        metavar="REQUESTS",
        help="JSON Lines (.jsonl), CSV (.csv) or Parquet (.parquet): a row for each request, with the API's fields. "
        "face_image, prompt and style may hold several, and a face may be a folder. docs/batch.md has it all.",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="Folder for pictures, index and errors.")
    add_models_argument(parser)
    parser.add_argument(
        "--data",
        type=Path,
        default=Path.home() / DATA,
        help="Folder with local_api.json, whose flavours and allowed_hosts hold here, too. "
        f"Default: {DATA} in your home folder.",
    )
    add_ray_arguments(parser)
    parser.set_defaults(run=run)


@advise("", CURES)
def run(options: argparse.Namespace) -> None:
    """Make what isn't made yet. Raises FaceGenError for what the user can fix, also when a row could not be made."""
    with libraries():
        from ..batch.outputs import ERRORS, Outputs
        from ..batch.run import Batch

    config = settings(options)
    engines = engines_of(options.models)
    with Outputs(options.out) as outputs:
        batch = Batch(options.file, pieces_of(options.file, config, engines), outputs)
        batch.look()
        say(f"{batch.open} to make, {batch.there} made already, {outputs.errors} that can't be made")
        try:
            make(batch, options, config, engines)
        except KeyboardInterrupt:
            say(GO_ON)
            raise
        outputs.write_parquet()
        if outputs.errors:
            why = options.out / ERRORS
            raise FaceGenError(f"{outputs.errors} could not be made; {why} says which and why. {GO_ON}")
    say(f"done: {len(outputs.made)} in {options.out.resolve()}")


def settings(options: argparse.Namespace) -> LocalConfig:
    """Those of `serve`. Raises ConfigError."""
    return ConfigFile(options.data / "local_api.json", style_files, True, built_in(options.models)).read()


def engines_of(models: str) -> "Engines":
    """The engines, none loaded yet."""
    with libraries():
        from ..server.engines import Engines
    if models == TINY:
        say(TINY_NOTICE)
        use_one_thread()
    return Engines(None if models == TINY else Path(models), lambda files: load_engine(files, checks=True))


def pieces_of(file: Path, config: LocalConfig, engines: "Engines") -> "Callable[[], Pieces]":
    """How the rows of a file are read."""
    with libraries():
        from ...api.download import Guard
        from ..batch.flavour_choice import FlavourChoice
        from ..batch.pieces import Pieces
    choice, guard = FlavourChoice(config, engines), Guard(config.allowed_hosts)
    return lambda: Pieces(file.parent, guard, list(style_files()), choice)


def make(batch: "Batch", options: argparse.Namespace, config: LocalConfig, engines: "Engines") -> None:
    """All that has to be made: in this process, or by Ray."""
    folder, allow = batch.file.parent.absolute(), config.allowed_hosts
    if options.ray is not None:
        with libraries(RAY_REQUIREMENTS):
            from ..cluster.batches import made_by_ray
            from ..cluster.connection import reach
        reach(options.ray)
        batch.keep(made_by_ray(batch, scale_of(options), config.flavours, folder, allow))
        return
    with libraries():
        from ..batch.faces import Faces
        from ..batch.maker import Maker
        from ..batch.run import made_here
    batch.keep(made_here(batch, Maker(config.flavours, engines, Faces(folder, allow))))
