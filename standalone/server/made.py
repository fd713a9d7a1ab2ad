"""Requests' pictures with an engine that is open, as its flavour wants them made: for the server, and for batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from ...api.local.flavours import Flavour, made_guidance, made_size
from ...contract import FaceGenRequest
from ...models.face.embeds import FaceEmbeds
from ...models.face.likeness import Likeness, likenesses
from ...models.pictures import Watch, unwatched
from ..asked import Asked, Result
from ..photos import to_image

if TYPE_CHECKING:
    from ..engine import Engine


@dataclass(frozen=True)
class Made:
    """The pictures of a request, in the size that was asked for; one of `flagged` and of `scores` for each."""

    images: list[Image.Image]
    flagged: list[bool]
    scores: list[Likeness]

    @property
    def likeness(self) -> list[int | None]:
        """In percent, for each picture; None where it is redacted or no face is found in it."""
        return [
            None if flagged or score.percent is None else round(score.percent)
            for flagged, score in zip(self.flagged, self.scores, strict=True)
        ]


class Wanted(NamedTuple):
    """A request with its face, and the flavour that it is made in."""

    flavour: Flavour
    request: FaceGenRequest
    face_embeds: FaceEmbeds


def make(engine: "Engine", wanted: Wanted, watch: Watch = unwatched) -> Made:
    """Generate the pictures. `watch` is told of the steps; what it raises ends the work. Raises as Engine.generate."""
    return make_together(engine, [wanted], watch)[0]


def make_together(engine: "Engine", wanted: Sequence[Wanted], watch: Watch = unwatched) -> list[Made]:
    """As `make`, of each; they are sampled in one batch. Raises as Engine.generate_together."""
    asked = [Asked(made_request(each.flavour, each.request), each.face_embeds) for each in wanted]
    results = engine.generate_together(asked, watch=watch)
    return [_made(engine, *each) for each in zip(wanted, results, strict=True)]


def made_request(flavour: Flavour, request: FaceGenRequest) -> FaceGenRequest:
    """As the flavour's model is to be asked."""
    width, height = made_size(flavour, request) if flavour.render_scale < 1 else (request.width, request.height)
    return replace(request, width=width, height=height, guidance_scale=made_guidance(flavour, request))


def _made(engine: "Engine", wanted: Wanted, result: Result) -> Made:
    scores = likenesses(result.images, engine.face_analysis, wanted.face_embeds)
    images = [_sized(to_image(picture), wanted.request.width, wanted.request.height) for picture in result.images]
    return Made(images, result.flagged, scores)


def not_enough_memory(request: FaceGenRequest) -> str:
    """What whoever asked for it is told."""
    size = f"{request.samples} of {request.width}x{request.height} pixels"
    return f"There was not enough memory for {size}. Ask for fewer or smaller pictures, or try again later."


def _sized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
