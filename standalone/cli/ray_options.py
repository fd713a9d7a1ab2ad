"""What `serve` and `batch` are told of Ray: where it is, and how many replicas of the engine it may have there."""

import argparse
from typing import TYPE_CHECKING

from ...errors import FaceGenError
from .common import REQUIREMENTS, libraries
from .generate import TINY

if TYPE_CHECKING:
    from ..cluster.scale import Scale

RAY_REQUIREMENTS = (*REQUIREMENTS, "requirements-scale.txt")
REPLICAS = "1:1"


def add_ray_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; docs/scale.md has the whole."""
    group = parser.add_argument_group("on many machines, with Ray", "docs/scale.md describes it.")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="Let Ray make the pictures: 'auto' for the Ray that this machine belongs to, or its address, HOST:6379; 'local' "
        "starts one on this machine. All machines have the pack and the models folder under the same paths.",
    )
    group.add_argument(
        "--replicas",
        metavar="LEAST:MOST",
        help=f"How many engines Ray keeps, and how many there may be while much is asked. Default: {REPLICAS}.",
    )
    group.add_argument("--replica-gpus", type=float, default=None, help="GPUs of each. Default: 1; 0 with the tiny model.")
    group.add_argument("--replica-cpus", type=float, default=1.0, help="CPUs of each. Default: 1.")
    group.add_argument(
        "--max-waiting", type=int, default=100, metavar="N", help="How many requests may wait for an engine. Default: 100."
    )


def scale_of(options: argparse.Namespace) -> "Scale":
    """The options as Ray's part of the pack takes them. Raises FaceGenError."""
    with libraries(RAY_REQUIREMENTS):
        from ..cluster.scale import Scale
    text = options.replicas or REPLICAS
    least, _, most = text.partition(":")
    if not least.isdecimal() or not (most or least).isdecimal():
        raise FaceGenError(f"--replicas is {text}; it must be two whole numbers such as 1:4.")
    tiny = options.models == TINY
    gpus = options.replica_gpus if options.replica_gpus is not None else (0.0 if tiny else 1.0)
    return Scale(
        models="" if tiny else options.models,
        gpus=gpus,
        cpus=options.replica_cpus,
        least=int(least),
        most=int(most or least),
        max_queued=options.max_waiting,
    )
