"""A batch by Ray Data: an actor with an engine on each GPU makes pieces, and this process writes what comes back.

Nothing but this process writes, so the folder needn't be reachable from other machines; the photos and the models have to be.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError, RayTaskError

from ...api.local.flavours import Flavour
from ...errors import FaceGenError, printable
from ..batch.faces import Faces
from ..batch.maker import Done, Maker
from ..batch.pieces import BadPiece, Piece
from ..batch.run import Batch
from ..server.engines import Engines
from .replica import Load, own
from .scale import Scale

TOGETHER = 8  # pieces that an actor makes before they are handed over: as many are lost when this process is killed


class PieceMaker:
    """What an actor does. Rows of Ray Data: `piece`, JSON, becomes `outcome`, JSON, and `pictures`, its files in one."""

    def __init__(self, models: str, flavours: Mapping[str, Flavour], folder: str, allow: Iterable[str], load: Load | None):
        engines = Engines(Path(models) if models else None, load or own())
        self._maker = Maker(flavours, engines, Faces(Path(folder), allow))

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        outcomes = [_written(self._maker.make(_piece(text))) for text in rows["piece"]]
        return {"outcome": [text for text, _ in outcomes], "pictures": [content for _, content in outcomes]}


def made_by_ray(
    batch: Batch,
    scale: Scale,
    flavours: Mapping[str, Flavour],
    folder: Path,
    allow: Iterable[str],
    load: Load | None = None,
) -> Iterator[Done | BadPiece]:
    """Everything that has to be made, as it comes. `folder` is what photos' paths are relative to, `allow` names hosts that may
    be asked though they aren't public. Raises FaceGenError."""
    DataContext.get_current().enable_progress_bars = False  # ours is there
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    rows = [{"piece": json.dumps(asdict(piece))} for window in batch.windows() for piece in window]
    if not rows:
        return
    made = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // TOGETHER)).map_batches(
        PieceMaker,
        fn_constructor_args=(scale.models, dict(flavours), str(folder), tuple(allow), load),
        batch_size=None,
        compute=ActorPoolStrategy(min_size=max(1, scale.least), max_size=scale.most),
        num_gpus=scale.gpus,
        num_cpus=scale.cpus,
    )
    try:
        for row in made.iter_rows():
            yield _read(row["outcome"], row["pictures"])
    except RayTaskError as error:
        cause = error.cause
        while isinstance(cause, RayTaskError):
            cause = cause.cause
        raise FaceGenError(f"An engine could not go on: {printable(cause)}") from error
    except RayError as error:
        raise FaceGenError(
            f"Ray could not go on ({type(error).__name__}). What is made stays; run the command again."
        ) from error


def _piece(text: str) -> Piece:
    content = json.loads(text)
    return Piece(**content | {name: tuple(content[name]) for name in ("tips", "several")})


def _written(outcome: Done | BadPiece) -> tuple[str, bytes]:
    if isinstance(outcome, BadPiece):
        return json.dumps({"bad": asdict(outcome)}), b""
    lengths = [len(picture) for picture in outcome.pictures]
    return json.dumps({"entry": outcome.entry, "lengths": lengths}), b"".join(outcome.pictures)


def _read(text: str, content: bytes) -> Done | BadPiece:
    outcome = json.loads(text)
    if "bad" in outcome:
        return BadPiece(**outcome["bad"])
    pictures, start = [], 0
    for length in outcome["lengths"]:
        pictures.append(content[start : start + length])
        start += length
    return Done(outcome["entry"], pictures)
