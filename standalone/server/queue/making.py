"""The engine's thread at work: works that fit together become pictures in one batch, and each of them ends by itself."""

import io
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from ....api.local.backend import CANCELLED, Phase, State
from ....contract import FaceGenRequest
from ....errors import FaceGenError
from ....models.pictures import Watch
from ...memory import is_out_of_memory, make_room
from ...model_files import ModelFiles
from ...photos import read_photo
from ..engines import Engines, told
from ..made import Wanted, make_together, not_enough_memory
from .room import Room
from .waiting import Entry

if TYPE_CHECKING:
    from ...engine import Engine


class Observer(Protocol):
    """Whoever counts: told of each step and of the pictures of a batch, with the seconds that they took."""

    def step(self, seconds: float) -> None: ...
    def pictures(self, count: int, seconds: float) -> None: ...


class Unobserved:
    """The Observer of nobody."""

    def step(self, seconds: float) -> None: ...

    def pictures(self, count: int, seconds: float) -> None: ...


class NothingLeft(Exception):
    """All works of a batch have ended before it was done."""


class Making:
    """`room` is told how long batches took, and which were too large for the memory."""

    def __init__(self, engines: Engines, room: Room, observer: Observer):
        self._engines, self._room, self._observer = engines, room, observer

    def make(self, entries: Sequence[Entry]) -> None:
        """Make the pictures of works that fit together, or say of each what went wrong; nothing is raised."""
        entries = [entry for entry in entries if not entry.is_cancelled]
        for entry in entries:
            entry.state = State(Phase.RUNNING, progress=0.0)
        began = time.monotonic()
        failed = self._make_together(entries) if len(entries) > 1 else None
        alone = [entry for entry in entries if not entry.state.has_ended]
        for entry in alone:
            entry.context.run(self._make_alone, entry)
        # What doesn't fail any of them alone failed by their number.
        if failed and (is_out_of_memory(failed) or all(entry.state.phase is Phase.DONE for entry in alone)):
            self._room.had_none(entries)
        for entry in entries:
            outcome = entry.state.message if entry.state.phase is Phase.FAILED else "done"
            words = "FaceGen: work %s ended after %.2f s: %s"
            entry.context.run(logging.info, words, entry.work.id, time.monotonic() - began, outcome)

    def engine(self, files: ModelFiles) -> "Engine":
        """That of the files, loaded where it isn't. Raises FaceGenError."""
        if not self._engines.is_open(files):
            logging.info("FaceGen: loading %s", ", ".join(told(files).values()))
        return self._engines.get_with_room(files)

    def _make_together(self, entries: Sequence[Entry]) -> Exception | None:
        """Where that fails, whatever it is, those that haven't ended by then are left to be made alone. Gives the error."""
        try:
            if self._room.evicts:
                self._engines.with_room(entries[0].files, lambda: self._made(entries))
            else:
                self._made(entries)
        except NothingLeft:
            return None
        except Exception as error:
            is_full = is_out_of_memory(error)
            why = "there was not enough memory" if is_full else type(error).__name__
            shown = None if is_full or isinstance(error, FaceGenError) else error
            logging.warning("FaceGen: %d requests are made one by one: %s", len(entries), why, exc_info=shown)
            if is_full:
                error.__traceback__ = None  # it would hold on to the memory that lacked
                make_room()
            return error
        return None

    def _make_alone(self, entry: Entry) -> None:
        try:
            self._engines.with_room(entry.files, lambda: self._made([entry]))
        except NothingLeft:
            return
        except FaceGenError as error:
            entry.state = State(Phase.FAILED, str(error))
        except Exception as error:
            entry.state = State(Phase.FAILED, self._what_failed(error, entry.work.request))

    def _what_failed(self, error: Exception, request: FaceGenRequest) -> str:
        """What a client is told; the rest is in the log. An error's traceback would hold on to the memory that lacked."""
        if is_out_of_memory(error):
            error.__traceback__ = None
            make_room()
            message = not_enough_memory(request)
            logging.error("FaceGen: %s", message)
            return message
        logging.error("FaceGen: the engine failed", exc_info=error)
        return f"The engine failed ({type(error).__name__}); the server's log says more."

    def _made(self, entries: Sequence[Entry]) -> None:
        """The pictures of all that haven't ended, and of each that it is done. Raises NothingLeft, and what fails all."""
        began = time.monotonic()
        engine = self.engine(entries[0].files)
        wanted = [(entry, face) for entry in _left(entries) if (face := self._face(engine, entry)) is not None]
        _left(entries)
        sampling = time.monotonic()
        made = make_together(engine, [face for _, face in wanted], self._watch(entries))
        self._room.took([entry for entry, _ in wanted], time.monotonic() - sampling)
        files = [[_png(image) for image in each.images] for each in made]
        _left(entries)  # whoever was told meanwhile that it is cancelled isn't told that it is done
        seconds = time.monotonic() - began
        self._observer.pictures(sum(map(len, files)), seconds)
        for (entry, _), each, pictures in zip(wanted, made, files, strict=True):
            if not entry.state.has_ended:
                entry.pictures = pictures
                entry.state = State(Phase.DONE, seconds=seconds / len(wanted), notes={"likeness": each.likeness})

    def _face(self, engine: "Engine", entry: Entry) -> Wanted | None:
        """A work with its face; None where it fails for it, and others needn't."""
        try:
            face_embeds, _ = engine.embed(read_photo(entry.work.face))
        except FaceGenError as error:
            entry.state = State(Phase.FAILED, str(error))
            return None
        return Wanted(entry.work.flavour, entry.work.request, face_embeds)

    def _watch(self, entries: Sequence[Entry]) -> Watch:
        """Called before each step and after the last: tells how far the works are, and ends those that were cancelled."""
        last: list[float] = []

        def watch(done: int, of: int) -> None:
            left, now = _left(entries), time.monotonic()
            if last:
                self._observer.step(now - last[0])
            last[:] = [now]
            for entry in left:
                entry.state = State(Phase.RUNNING, progress=done / of)

        return watch


def _left(entries: Sequence[Entry]) -> list[Entry]:
    """Those that haven't ended; one that was cancelled ends with this. Raises NothingLeft."""
    for entry in entries:
        if entry.is_cancelled and not entry.state.has_ended:
            entry.state = State(Phase.FAILED, CANCELLED)
    if left := [entry for entry in entries if not entry.state.has_ended]:
        return left
    raise NothingLeft


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
