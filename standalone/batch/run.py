"""A batch from its file to its folder: looked through first, then made window by window."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ...errors import FaceGenError
from .maker import Done, Maker
from .outputs import Outputs
from .pieces import BadPiece, Piece, Pieces, groups
from .rows import read_rows

WINDOW, WINDOW_BYTES = 2000, 64 << 20  # pieces that are put in order together, and what their photos may take as data URIs
MOST_UNFORESEEN = 20
GIVE_UP = (
    "The last {} pieces failed in ways that nobody thought of; the last one: {} Nothing more is tried. What is made stays."
)


@dataclass
class Batch:
    """`file` has the rows; `pieces` makes a new Pieces, which knows how they are read."""

    file: Path
    pieces: Callable[[], Pieces]
    outputs: Outputs
    there: int = field(default=0, init=False)  # that were made by an earlier run
    open: int = field(default=0, init=False)  # that have to be made

    def look(self) -> None:
        """Read all rows: what can't be made is told, what is there is counted, before anything is made."""
        for piece in self._all():
            if isinstance(piece, BadPiece):
                self.outputs.tell(piece)
            elif self.outputs.has(piece):
                self.there += 1
            else:
                self.open += 1

    def windows(self) -> Iterator[list[Piece]]:
        """What has to be made, in an order that suits the models, with few in memory."""
        window: list[Piece] = []
        weight = 0
        for piece in self._all():
            if isinstance(piece, BadPiece) or self.outputs.has(piece):
                continue
            window.append(piece)
            weight += len(piece.wanted.face_image)
            if len(window) >= WINDOW or weight >= WINDOW_BYTES:
                yield groups(window)
                window, weight = [], 0
        if window:
            yield groups(window)

    def keep(self, outcomes: Iterable[Done | BadPiece]) -> None:
        """Write what comes, with a progress bar."""
        with tqdm(total=self.open, unit="request", disable=not self.open) as bar:
            for outcome in outcomes:
                if isinstance(outcome, BadPiece):
                    self.outputs.tell(outcome)
                else:
                    self.outputs.keep(outcome)
                bar.update()

    def _all(self) -> Iterator[Piece | BadPiece]:
        pieces = self.pieces()
        for row in read_rows(self.file):
            yield from pieces.of(row)


def made_here(batch: Batch, maker: Maker) -> Iterator[Done | BadPiece]:
    """Everything that has to be made, in this process. Raises FaceGenError when nothing works any more."""
    for window in batch.windows():
        for piece in window:
            outcome = maker.make(piece)
            yield outcome
            if isinstance(outcome, BadPiece) and maker.unforeseen >= MOST_UNFORESEEN:
                (why,) = next(iter(outcome.errors.values()))
                raise FaceGenError(GIVE_UP.format(maker.unforeseen, why))
