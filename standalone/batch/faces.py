"""The faces of a batch: each photo is fetched, read and embedded once, known again by what is in it."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ...api.download import DownloadError, download
from ...api.local.incoming.face_photos import LIMITS
from ...api.local.incoming.lenient_request import unusable
from ...api.picture_bytes import from_base64
from ...contract import ContractError
from ...errors import FaceGenError
from ...models.face.embeds import TENSORS, FaceEmbeds
from ...picture_file import FORMATS, MAX_OWN_PIXELS, MAX_PIXELS, OWN_FORMATS, PictureError, open_rgb
from ..model_files import ModelFiles
from ..photos import photo_bytes, to_tensor
from .sources import is_remote, shown

if TYPE_CHECKING:
    from ..engine import Engine

MOST_BYTES = 512 << 20  # of face embeds that are kept: of FaceID-PlusV2 some 400, of FaceID 200,000
MOST_SOURCES = 200_000  # photos whose content is remembered


@dataclass(frozen=True)
class Face:
    """size: the photo's width and height in pixels."""

    embeds: FaceEmbeds
    size: tuple[int, int]


@dataclass
class Faces:
    """`folder` is what photos' paths are relative to, `allow` names hosts that may be asked though they aren't public."""

    folder: Path
    allow: Iterable[str] = ()
    embedded: int = 0  # how often a photo was embedded
    _kept: "OrderedDict[tuple[ModelFiles, str], Face | ContractError]" = field(default_factory=OrderedDict)
    _contents: "OrderedDict[str, str]" = field(default_factory=OrderedDict)  # source -> digest of what it was
    _bytes: int = 0

    def of(self, source: str, engine: "Engine", files: ModelFiles) -> Face:
        """The face of a photo, as the engine of these files sees it. Raises ContractError about face_image."""
        name = source if len(source) < 200 else hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
        digest = self._contents.get(name)
        if digest is None or (files, digest) not in self._kept:
            content = self._content(source)
            digest = self._contents[name] = hashlib.sha256(content).hexdigest()
            if len(self._contents) > MOST_SOURCES:
                self._contents.popitem(last=False)
            if (files, digest) not in self._kept:
                self._keep((files, digest), self._embed(source, content, engine))
        self._kept.move_to_end((files, digest))
        found = self._kept[files, digest]
        if isinstance(found, ContractError):
            raise ContractError(found.errors)
        return found

    def _keep(self, key: tuple[ModelFiles, str], face: Face | ContractError) -> None:
        self._kept[key] = face
        self._bytes += _bytes_of(face)
        while self._bytes > MOST_BYTES and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= _bytes_of(old)

    def _content(self, source: str) -> bytes:
        try:
            if "://" in source[:20]:
                return asyncio.run(download(source, LIMITS, self.allow))
            if is_remote(source):
                return from_base64(source, LIMITS.bytes)
            return photo_bytes(self.folder / source)
        except (DownloadError, PictureError) as error:
            raise ContractError({"face_image": [unusable("face_image", error)]}) from error
        except FaceGenError as error:
            raise ContractError({"face_image": [str(error)]}) from error

    def _embed(self, source: str, content: bytes, engine: "Engine") -> Face | ContractError:
        """What is wrong with the photo is kept, too: it isn't looked at again for the next prompt."""
        self.embedded += 1
        try:
            image = _image(source, content)
            embeds, _ = engine.embed(to_tensor(image), self._called(source))
        except PictureError as error:
            return ContractError({"face_image": [unusable("face_image", error)]})
        except FaceGenError as error:
            return ContractError({"face_image": [str(error)]})
        return Face(embeds, image.size)

    def _called(self, source: str) -> str:
        return "the photo" if is_remote(source) else shown(source, self.folder)


def _image(source: str, content: bytes) -> Image.Image:
    """A stranger's photo within a server's bounds, a file of the user's own within wider ones."""
    return open_rgb(content, MAX_PIXELS, FORMATS) if is_remote(source) else open_rgb(content, MAX_OWN_PIXELS, OWN_FORMATS)


def _bytes_of(face: Face | ContractError) -> int:
    if isinstance(face, ContractError):
        return 1000
    tensors = (getattr(face.embeds, name) for name in TENSORS)
    return 1000 + sum(int(tensor.nbytes) for tensor in tensors if tensor is not None)
