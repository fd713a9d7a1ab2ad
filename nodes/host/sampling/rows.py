"""What each row of a UNet call's batch is: of which side, which latent, and which part of the picture."""

from typing import Any, NamedTuple

from ....errors import FaceGenError
from .windows import Lines

CHUNKS, ROWS = "facegen_chunks", "facegen_rows"  # in transformer_options and in what an attention block is told

Crop = tuple[float, float, float, float]  # y0, y1, x0, x1 as shares of the picture
Options = dict[str, Any]  # ComfyUI's model_options or transformer_options


class Chunks(NamedTuple):
    """What one UNet call is made of: chunks of equal size, one after the other.

    sides    for each chunk 0 conditional, 1 unconditional.
    crops    for each chunk the part of the picture that is generated; None for all of it.
    latents  for each row of the batch the number of its latent among all that are sampled.
    lines    the lines of the picture that a context window takes; None for all of them.
    tiled    True when another node hands out tiles whose place in the picture isn't told.
    closed   sigma windows, as (start, end), in which this step doesn't lie; None when that hasn't been looked at.
    """

    sides: tuple[int, ...]
    crops: tuple[Crop | None, ...]
    latents: tuple[int, ...]
    lines: Lines | None = None
    tiled: bool = False
    closed: tuple[tuple[float, float], ...] | None = None

    def taken(self, rows: tuple[int, ...]) -> "Chunks":
        """The call after another node made its batch anew of these rows: each is a chunk of its own."""
        size = len(self.latents) // len(self.sides)
        return self._replace(
            sides=tuple(self.sides[row // size] for row in rows),
            crops=tuple(self.crops[row // size] for row in rows),
            latents=tuple(self.latents[row] for row in rows),
        )


def by_place(index: int) -> int:
    """The side of a conditioning by its place in ComfyUI's list, where nothing else says it."""
    return 0 if index == 0 else 1


def chunks(extra_options: Options, batch: int) -> Chunks:
    """What the `batch` rows are that came to an attention block, from what the block is told.

    Called without a guider, 0 is conditional. Raises FaceGenError when these aren't the rows that were announced.
    """
    if CHUNKS in extra_options:
        call: Chunks = extra_options[CHUNKS]
    else:
        sides = tuple(by_place(index) for index in extra_options["cond_or_uncond"])
        call = Chunks(sides, (None,) * len(sides), tuple(range(batch // len(sides))) * len(sides))
    if ROWS in extra_options:
        call = call.taken(extra_options[ROWS])
    if len(call.latents) != batch:
        raise unknown_rows(batch, len(call.latents), "inside the model's attention")
    return call


def unknown_rows(given: int, known: int, where: str) -> FaceGenError:
    return FaceGenError(
        f"{given} latents came {where} where {known} were to come, and nothing tells which of them is which, so the face can't "
        "be given to the right ones. Another node on this model changes the batch: take it off, or sample without a face."
    )
