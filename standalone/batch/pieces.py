"""What a row asks for, piece by piece: each face with each prompt in each style, as an exact request with a name of its own.

A row has the fields of its endpoint's requests, `model_id`, `endpoint` and `best_of`. In `face_image`, `prompt` and `style` it
may hold several, and a face may be a folder, which stands for all picture files in it by their names. The pieces come in the
row's order: the first face with the first prompt in all styles, then with the second prompt, then the next face.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from ...api.download import DownloadError, Guard
from ...api.local.incoming.lenient_request import Wanted, read_fields, unusable
from ...contract import ENDPOINTS, FACE_GEN, V6, ContractError, Endpoint, Field
from ..photos import is_photo_file
from .flavour_choice import FlavourChoice
from .rows import Row
from .sources import combination, is_remote

BEST_OF = Field("best_of", int, "How many pictures are made to keep the most alike.", default=1, minimum=1, maximum=64)
SEVERAL = ("face_image", "prompt", "style")
ROW = "row"  # in the place of a field, for what is wrong with the row as a whole
OWN = ("best_of", "endpoint", "model_id")
OF_A_SERVER = ("base64", "webhook")
NO_FILES: Mapping[str, str] = {}
NOBODY_WAITS = "The {} field says how a server answers, and nobody waits for a batch's answer. Leave it out."
OF_V6 = {endpoint.name: endpoint for endpoint in ENDPOINTS.values() if endpoint.family == V6}


@dataclass(frozen=True)
class Piece:
    """One request of row number `row`; what comes of it is called by its `id`, which is made of everything that the pictures
    depend on but the photo's content. `flavour` is a name, `values` are as in Wanted, `several` are the fields in which the
    row's pieces differ."""

    id: str
    row: int
    flavour: str
    endpoint: str
    values: Mapping[str, Any]
    tips: tuple[str, ...] = ()
    best_of: int = 1
    several: tuple[str, ...] = ()

    @property
    def wanted(self) -> Wanted:
        return Wanted(ENDPOINTS[self.endpoint], self.values, self.tips)

    @property
    def seed(self) -> int:
        """The row's, else one that is made of the id: whenever it is made, it is the same picture."""
        given = self.values.get("seed")
        return int(self.id[:8], 16) if given is None else int(given)


@dataclass(frozen=True)
class BadPiece:
    """What of a row can't be made, and why: field -> sentences. request: which of several values it has, where that matters."""

    row: int
    errors: Mapping[str, list[str]]
    track_id: Any = None
    request: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Common:
    """What all pieces of a row have in common; several: the fields in which they differ; errors: what makes all of them bad."""

    row: int
    endpoint: Endpoint
    best_of: int
    errors: Mapping[str, list[str]]
    several: tuple[str, ...]


@dataclass
class Pieces:
    """The pieces of rows. `folder` is what the photos' paths are relative to; `styles` are those that there are."""

    folder: Path
    guard: Guard
    styles: Collection[str]
    choice: FlavourChoice
    _seen: "Counter[bytes]" = field(default_factory=Counter)

    def of(self, row: Row) -> Iterator[Piece | BadPiece]:
        """Those of a row, or all that is wrong with it. What is wrong with several of them alike is told once."""
        told: set[str] = set()
        for piece in self._of(row):
            if isinstance(piece, BadPiece):
                if (text := json.dumps([piece.request, piece.errors])) in told:
                    continue
                told.add(text)
            yield piece

    def _of(self, row: Row) -> Iterator[Piece | BadPiece]:
        if row.problem:
            yield BadPiece(row.number, {ROW: [row.problem]})
            return
        endpoint, best_of, errors = _of_all(row.fields)
        fields = {one: value for one, value in row.fields.items() if one not in OF_A_SERVER}
        faces = [source for one in _several(fields, "face_image") for source in self._in_folder(one)]
        several = {"face_image": faces, **{name: _several(fields, name) for name in SEVERAL[1:]}}
        common = _Common(row.number, endpoint, best_of, errors, tuple(name for name in SEVERAL if len(several[name]) > 1))
        for values in product(*several.values()):
            yield from self._piece(common, {**fields, **dict(zip(SEVERAL, values, strict=True))})

    def _in_folder(self, source: Any) -> list[Any]:
        """The sources of a folder's photos; whatever else it is, the source itself."""
        if not isinstance(source, str) or is_remote(source):
            return [source]
        path = self.folder / source.strip()
        try:
            photos = sorted(file.name for file in path.iterdir() if is_photo_file(file)) if path.is_dir() else []
        except (OSError, ValueError):  # told by _wrong_with_photo
            photos = []
        return [str(Path(source.strip(), name)) for name in photos] or [source.strip()]

    def _piece(self, common: _Common, body: dict[str, Any]) -> Iterator[Piece | BadPiece]:
        """One combination's, or all that is wrong with it."""
        endpoint, best_of = common.endpoint, common.best_of
        wanted, errors = read_fields(body, endpoint, self.guard, self.styles)
        if "face_image" not in errors and (problem := self._wrong_with_photo(wanted.face_image)):
            errors["face_image"] = [problem]
        if best_of > 1 and best_of < int(wanted.values.get("samples", 1)):
            errors["best_of"] = [f"best_of is {best_of}, and samples, those of them that are kept, is more."]
        # A style that can't be read stands for one without files of its own.
        usual = endpoint.fields["style"].default if "style" in endpoint.fields.keys() - errors.keys() else ""
        flavour, files = "", NO_FILES
        try:
            if "endpoint" not in common.errors:
                flavour = self.choice.of(endpoint.name, body.get("model_id"))
                files = self.choice.files(flavour, str(wanted.values.get("style", usual)))
        except ContractError as error:
            errors |= error.errors
        errors |= common.errors
        if errors:
            yield from self._bad(common, body, errors)
            return
        name = self._name([endpoint.path, flavour, files, best_of, dict(wanted.values)])
        yield Piece(name, common.row, flavour, endpoint.path, wanted.values, wanted.tips, best_of, common.several)

    def _bad(self, common: _Common, body: Mapping[str, Any], errors: Mapping[str, list[str]]) -> Iterator[BadPiece]:
        """What is wrong with one of several values is told by itself: it is the same whatever that is combined with."""
        own = [name for name in common.several if name in errors and name not in common.errors]
        if of_all := {name: said for name, said in errors.items() if name not in own}:
            yield BadPiece(common.row, of_all, body.get("track_id"))
        for name in own:
            yield BadPiece(common.row, {name: errors[name]}, body.get("track_id"), combination(body, [name], self.folder))

    def _wrong_with_photo(self, source: str) -> str:
        """As far as can be told without reading it; "" if nothing is."""
        if "://" not in source[:20]:
            return "" if is_remote(source) else _wrong_with_file(self.folder / source, source)
        try:
            self.guard.check_url(source)
        except DownloadError as error:
            return unusable("face_image", error)
        return ""

    def _name(self, what: list[Any]) -> str:
        """Rows that ask for the very same are told apart by which of them it is."""
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode("utf-8", "surrogatepass")).digest()[:16]
        self._seen[digest] += 1
        return hashlib.sha256(digest + str(self._seen[digest]).encode()).hexdigest()[:24]


def _several(fields: Mapping[str, Any], name: str) -> list[Any]:
    """One value, which may be none, or those of a list."""
    value = fields.get(name)
    return list(value) if isinstance(value, list) else [value]


def _wrong_with_file(path: Path, source: str) -> str:
    try:
        if path.is_file():
            return ""
        if path.is_dir():
            next(path.iterdir(), None)  # raises if it can't be read
            return f"There is no picture in the folder {source}."
    except (OSError, ValueError) as error:
        return f"{source[:80]} can't be read: {error}."
    return f"There is no photo {path}."


def _of_all(fields: Mapping[str, Any]) -> tuple[Endpoint, int, dict[str, list[str]]]:
    """Endpoint and best_of of a row, and what is wrong with its fields as far as their values needn't be read. Where there is
    no such endpoint it is the default, which has all fields that there are, so that the others can be read."""
    name = str(fields.get("endpoint", FACE_GEN)).strip().lower()
    endpoint = OF_V6.get(name, OF_V6[FACE_GEN])
    known = [*(one for one in endpoint.fields if one not in OF_A_SERVER), *OWN]
    errors = {
        one: [f"There is no field {one[:40]!r} in {endpoint.name}. Its fields are {', '.join(known)}."]
        for one in fields
        if one not in known and one not in OF_A_SERVER
    }
    for one in OF_A_SERVER:
        if str(fields.get(one, "")).strip().lower() not in ("", "false", "no", "0", "none", "null"):
            errors[one] = [NOBODY_WAITS.format(one)]
    if name not in OF_V6:
        errors["endpoint"] = [f"The endpoint field must be one of {', '.join(OF_V6)}, got {name[:40]!r}."]
    best_of = fields.get("best_of", BEST_OF.default)
    if isinstance(best_of, str) and best_of.strip().isascii() and best_of.strip().isdigit():
        best_of = int(best_of.strip()[:9])
    if problem := BEST_OF.problem(best_of):
        errors["best_of"] = [problem]
    return endpoint, BEST_OF.default if problem else int(best_of), errors


def groups(pieces: Iterable[Piece]) -> list[Piece]:
    """In an order in which few models are changed, sizes are together, and each face's pieces follow each other."""

    def key(piece: Piece) -> tuple[str, str, int, int, str]:
        values = piece.values
        sides = (int(values.get("height") or 0), int(values.get("width") or 0))
        return (piece.flavour, str(values.get("style", "")), *sides, str(values["face_image"]))

    return sorted(pieces, key=key)
