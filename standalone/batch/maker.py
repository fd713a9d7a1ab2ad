"""Makes pieces: face, pictures, the likeliest of several, and what is to be said of them."""

import dataclasses
import io
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, PngImagePlugin

from ...api.local.flavours import Flavour
from ...contract import OF_THE_ANSWER, ContractError, FaceGenRequest
from ...errors import FaceGenError
from ...models.face.likeness import Likeness, best_first
from ..memory import is_out_of_memory, make_room
from ..server.engines import Engines, told
from ..server.made import Made, Wanted, make, not_enough_memory
from .faces import Face, Faces
from .pieces import BadPiece, Piece
from .sources import combination, shown

if TYPE_CHECKING:
    from ..engine import Engine

SEEDS = 2**64


class Done(NamedTuple):
    """entry: its line of the index; pictures: its PNG files, in the order of the entry's files."""

    entry: dict[str, Any]
    pictures: list[bytes]


class _Kept(NamedTuple):
    seed: int
    image: Image.Image
    flagged: bool
    percent: int | None
    score: Likeness


@dataclass
class Maker:
    """With the engines of this process; `flavours` by their names. `unforeseen` counts what went wrong in ways that nobody
    thought of, one after the other."""

    flavours: Mapping[str, Flavour]
    engines: Engines
    faces: Faces
    unforeseen: int = 0

    def make(self, piece: Piece) -> Done | BadPiece:
        """The pictures of a piece, or what is wrong with it. Raises FaceGenError where models can't be loaded."""
        flavour = self.flavours[piece.flavour]
        files = self.engines.files(flavour, str(piece.values.get("style", "")))
        engine = self.engines.get_with_room(files)
        try:
            done = self.engines.with_room(files, lambda: self._made(piece, flavour, engine))
        except ContractError as error:
            return self._bad(piece, error.errors)
        except FaceGenError as error:
            return self._bad(piece, {"row": [str(error)]})
        except Exception as error:
            self.unforeseen += 1
            return self._bad(piece, {"row": [_what_failed(error, piece)]})
        self.unforeseen = 0
        return done

    def _bad(self, piece: Piece, errors: dict[str, list[str]]) -> BadPiece:
        request = combination(piece.values, piece.several, self.faces.folder)
        return BadPiece(piece.row, errors, piece.values.get("track_id"), request)

    def _made(self, piece: Piece, flavour: Flavour, engine: "Engine") -> Done:
        began = time.perf_counter()
        files = self.engines.files(flavour, str(piece.values.get("style", "")))
        face = self.faces.of(piece.wanted.face_image, engine, files)
        request, tip = piece.wanted.request(face.size)
        if piece.best_of > 1:
            kept = _best(piece, engine, flavour, request, face)
        else:
            kept = _all(piece.seed, make(engine, Wanted(flavour, dataclasses.replace(request, seed=piece.seed), face.embeds)))
        seconds = round(time.perf_counter() - began, 3)
        request = dataclasses.replace(request, face_image=shown(request.face_image, self.faces.folder))
        return Done(*_told(piece, request, tip, kept, seconds, told(files)))


def _all(seed: int, made: Made) -> list[_Kept]:
    rows = zip(made.images, made.flagged, made.likeness, made.scores, strict=True)
    return [_Kept(seed, *row) for row in rows]


def _best(piece: Piece, engine: "Engine", flavour: Flavour, request: FaceGenRequest, face: Face) -> list[_Kept]:
    """The most alike of `best_of` pictures with seeds in a row, each made by itself, so that its seed alone makes it again."""
    kept: list[_Kept] = []
    for number in range(piece.best_of):
        seed = (piece.seed + number) % SEEDS
        kept += _all(seed, make(engine, Wanted(flavour, dataclasses.replace(request, seed=seed, samples=1), face.embeds)))
        numbered = [
            dataclasses.replace(one.score, picture=at, cosine=None if one.flagged else one.score.cosine)
            for at, one in enumerate(kept)
        ]
        kept = [kept[score.picture] for score in best_first(numbered)][: request.samples]
    return kept


def _told(
    piece: Piece, request: FaceGenRequest, tip: str, kept: list[_Kept], seconds: float, files: dict[str, str]
) -> tuple[dict[str, Any], list[bytes]]:
    """The entry of the index, which each picture holds as well, and the pictures. The request's photo is as it may be told."""
    asked = {name: value for name, value in request.as_dict().items() if name not in OF_THE_ANSWER}
    entry = {
        "id": piece.id,
        "row": piece.row,
        "track_id": piece.values.get("track_id"),
        "files": [f"{piece.id}_{number}.png" for number in range(len(kept))],
        "seeds": [one.seed for one in kept],
        "likeness": [one.percent for one in kept],
        "recogniser": kept[0].score.recogniser,
        "flagged": [one.flagged for one in kept],
        "seconds": seconds,
        "best_of": piece.best_of,
        "flavour": piece.flavour,
        "models": files,
        "request": asked | {"seed": kept[0].seed},
        "tip": tip,
    }
    return entry, [_png(one.image, entry) for one in kept]


def _png(image: Image.Image, entry: dict[str, Any]) -> bytes:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("parameters", json.dumps(entry, ensure_ascii=True))
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def _what_failed(error: Exception, piece: Piece) -> str:
    if not is_out_of_memory(error):
        logging.debug("FaceGen: row %d", piece.row, exc_info=error)
        return f"The engine failed: {type(error).__name__}: {error}"
    error.__traceback__ = None  # it would hold on to the memory that lacked
    make_room()
    return not_enough_memory(piece.wanted.request((512, 512))[0])
