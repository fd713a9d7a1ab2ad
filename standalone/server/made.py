"""One request's pictures with an engine that is open, as its flavour wants them made: for the server, and for batches."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from ...api.local.flavours import Flavour, made_guidance, made_size
from ...contract import FaceGenRequest
from ...models.face.embeds import FaceEmbeds
from ...models.face.likeness import Likeness, likenesses
from ...models.pictures import Watch, unwatched
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


def make(
    engine: "Engine", flavour: Flavour, request: FaceGenRequest, face_embeds: FaceEmbeds, watch: Watch = unwatched
) -> Made:
    """Generate the pictures. `watch` is told of the steps; what it raises ends the work. Raises as Engine.generate."""
    width, height = made_size(flavour, request) if flavour.render_scale < 1 else (request.width, request.height)
    asked = replace(request, width=width, height=height, guidance_scale=made_guidance(flavour, request))
    result = engine.generate(asked, face_embeds, watch=watch)
    scores = likenesses(result.images, engine.face_analysis, face_embeds)
    images = [_sized(to_image(picture), request.width, request.height) for picture in result.images]
    return Made(images, result.flagged, scores)


def not_enough_memory(request: FaceGenRequest) -> str:
    """What whoever asked for it is told."""
    size = f"{request.samples} of {request.width}x{request.height} pixels"
    return f"There was not enough memory for {size}. Ask for fewer or smaller pictures, or try again later."


def _sized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
