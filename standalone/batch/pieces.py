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
from ...api.local.incoming.lenient_request import Wanted, read_request, unusable
from ...contract import ENDPOINTS, FACE_GEN, V6, ContractError, Endpoint, Field
from ..photos import is_photo_file
from .flavour_choice import FlavourChoice
from .rows import Row

BEST_OF = Field("best_of", int, "How many pictures are made to keep the most alike.", default=1, minimum=1, maximum=64)
SEVERAL = ("face_image", "prompt", "style")
ROW = "row"  # in the place of a field, for what is wrong with the row as a whole
OWN = ("best_of", "endpoint", "model_id")
OF_A_SERVER = ("base64", "webhook")
NOBODY_WAITS = "The {} field says how a server answers, and nobody waits for a batch's answer. Leave it out."
OF_V6 = {endpoint.name: endpoint for endpoint in ENDPOINTS.values() if endpoint.family == V6}


@dataclass(frozen=True)
class Piece:
    """One request of row number `row`; what comes of it is called by its `id`, which is made of everything that the pictures
    depend on but the photo's content. `flavour` is a name, `values` are as in Wanted, `photo` is the photo's file where
    face_image is none of http(s), data."""

    id: str
    row: int
    flavour: str
    endpoint: str
    values: Mapping[str, Any]
    tips: tuple[str, ...] = ()
    best_of: int = 1

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
    """What of a row can't be made, and why: field -> sentences."""

    row: int
    errors: Mapping[str, list[str]]
    track_id: Any = None


@dataclass
class Pieces:
    """The pieces of rows. `folder` is what the photos' paths are relative to; `styles` are those that there are."""

    folder: Path
    guard: Guard
    styles: Collection[str]
    choice: FlavourChoice
    _seen: "Counter[bytes]" = field(default_factory=Counter)

    def of(self, row: Row) -> Iterator[Piece | BadPiece]:
        """Those of a row. What is wrong with several of them alike is told once."""
        told: set[str] = set()
        for piece in self._of(row):
            if isinstance(piece, BadPiece):
                if (text := json.dumps(piece.errors)) in told:
                    continue
                told.add(text)
            yield piece

    def _of(self, row: Row) -> Iterator[Piece | BadPiece]:
        track_id = row.fields.get("track_id")
        try:
            endpoint, best_of, fields = self._common(row)
            several = [self._faces(fields), *(_several(fields, name) for name in SEVERAL[1:])]
        except ContractError as error:
            yield BadPiece(row.number, error.errors, track_id)
            return
        for values in product(*several):
            body = {**fields, **dict(zip(SEVERAL, values, strict=True))}
            try:
                yield self._piece(row.number, endpoint, best_of, body)
            except ContractError as error:
                yield BadPiece(row.number, error.errors, track_id)

    def _common(self, row: Row) -> tuple[Endpoint, int, dict[str, Any]]:
        """What holds for all pieces of a row. Raises ContractError."""
        if row.problem:
            raise ContractError({ROW: [row.problem]})
        name = str(row.fields.get("endpoint", FACE_GEN)).strip().lower()
        if (endpoint := OF_V6.get(name)) is None:
            raise ContractError({"endpoint": [f"The endpoint field must be one of {', '.join(OF_V6)}, got {name[:40]!r}."]})
        known = [*(one for one in endpoint.fields if one not in OF_A_SERVER), *OWN]
        errors = {
            one: [f"There is no field {one[:40]!r} in {name}. Its fields are {', '.join(known)}."]
            for one in row.fields
            if one not in known and one not in OF_A_SERVER
        }
        for one in OF_A_SERVER:
            if str(row.fields.get(one, "")).strip().lower() not in ("", "false", "no", "0", "none", "null"):
                errors[one] = [NOBODY_WAITS.format(one)]
        if errors:
            raise ContractError(errors)
        return endpoint, _best_of(row.fields), {one: value for one, value in row.fields.items() if one not in OF_A_SERVER}

    def _faces(self, fields: Mapping[str, Any]) -> list[Any]:
        """The sources of the photos; a folder's are its picture files. Raises ContractError."""
        return [source for one in _several(fields, "face_image") for source in self._in_folder(one)]

    def _in_folder(self, source: Any) -> list[Any]:
        if not isinstance(source, str) or is_remote(source):
            return [source]
        path = self.folder / source.strip()
        try:
            if not path.is_dir():
                return [source.strip()]
            photos = sorted(file.name for file in path.iterdir() if is_photo_file(file))
        except (OSError, ValueError) as error:
            raise ContractError({"face_image": [f"{source[:80]} can't be read: {error}."]}) from error
        if not photos:
            raise ContractError({"face_image": [f"There is no picture in the folder {source}."]})
        return [str(Path(source.strip(), name)) for name in photos]

    def _piece(self, number: int, endpoint: Endpoint, best_of: int, body: dict[str, Any]) -> Piece:
        wanted = read_request(body, endpoint, self.guard, self.styles)
        source = wanted.face_image
        if "://" in source[:20]:
            try:
                self.guard.check_url(source)
            except DownloadError as error:
                raise ContractError({"face_image": [unusable("face_image", error)]}) from error
        elif not is_remote(source) and not (self.folder / source).is_file():
            raise ContractError({"face_image": [f"There is no photo {self.folder / source}."]})
        if best_of > 1 and best_of < int(wanted.values.get("samples", 1)):
            raise ContractError({"best_of": [f"best_of is {best_of}, and samples, those of them that are kept, is more."]})
        style = str(wanted.values.get("style", "" if "style" not in endpoint.fields else endpoint.fields["style"].default))
        flavour = self.choice.of(endpoint.name, body.get("model_id"))
        files = self.choice.files(flavour, style)
        name = self._name([endpoint.path, flavour, files, best_of, dict(wanted.values)])
        return Piece(name, number, flavour, endpoint.path, wanted.values, wanted.tips, best_of)

    def _name(self, what: list[Any]) -> str:
        """Rows that ask for the very same are told apart by which of them it is."""
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode("utf-8", "surrogatepass")).digest()[:16]
        self._seen[digest] += 1
        return hashlib.sha256(digest + str(self._seen[digest]).encode()).hexdigest()[:24]


def is_remote(source: str) -> bool:
    """Whether a face is a URL or a data URI, and no file."""
    return "://" in source[:20] or source[:5].lower() == "data:"


def _several(fields: Mapping[str, Any], name: str) -> list[Any]:
    """One value, which may be none, or those of a list."""
    value = fields.get(name)
    return list(value) if isinstance(value, list) else [value]


def _best_of(fields: Mapping[str, Any]) -> int:
    value = fields.get("best_of", BEST_OF.default)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value[:9])
    if problem := BEST_OF.problem(value):
        raise ContractError({"best_of": [problem]})
    return int(value)


def groups(pieces: Iterable[Piece]) -> list[Piece]:
    """In an order in which few models are changed, sizes are together, and each face's pieces follow each other."""

    def key(piece: Piece) -> tuple[str, str, int, int, str]:
        values = piece.values
        sides = (int(values.get("height") or 0), int(values.get("width") or 0))
        return (piece.flavour, str(values.get("style", "")), *sides, str(values["face_image"]))

    return sorted(pieces, key=key)
