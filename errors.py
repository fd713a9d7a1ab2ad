"""What goes wrong in a way that a user can fix, and how a node or a command adds what to do there."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar


class FaceGenError(ValueError):
    """Says what was given and what is needed, in words that hold wherever it is raised.

    What to click or type isn't said here: that is known to the node or command, which adds it with `advise`. A second text
    holds details. They stand after that advice, because a dialog shows the beginning.
    """

    # ComfyUI's dialog puts module and class before the message, and the module of a pack is its path on the user's disk; it
    # leaves this one out.
    __module__ = "builtins"
    _home: ClassVar[str] = __name__  # where the class really is

    def __init_subclass__(cls) -> None:
        cls._home, cls.__module__ = cls.__module__, "builtins"

    def __str__(self) -> str:
        return " ".join(str(part) for part in self.args if part)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the class with `args`, which is the message alone where an __init__ takes something else.
        return _again, (self._home, type(self).__qualname__, self.args), vars(self)


def _again(home: str, name: str, args: tuple[Any, ...]) -> FaceGenError:
    """An error out of a pickle or for a copy, as it was when it was made into one; its __init__ isn't called again."""
    kind: type[FaceGenError] = getattr(importlib.import_module(home), name)
    return kind.__new__(kind, *args)


def printable(text: object) -> str:
    """`text` without what a terminal would obey or hide: control, format and other unprintable characters are escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(text))


Cures = Mapping[type[FaceGenError], str]  # kind of error -> what to do about it


@contextmanager
def advise(where: str, cures: Cures | None = None) -> Iterator[None]:
    """Around calls of the engine, or as a decorator: `where` (the node's name; "" for a command, which the shell shows anyway)
    opens each FaceGenError that comes out, and the cure of the first entry that it is an instance of follows it, before the
    details. The error keeps its class and its cause.
    """
    try:
        yield
    except FaceGenError as error:
        cure = next((text for kind, text in (cures or {}).items() if isinstance(error, kind)), "")
        message, details = f"{error.args[0] if error.args else ''}", error.args[1:]
        error.args = (f"{where}{where and ': '}{message}{cure and ' '}{cure}", *details)
        raise


class NoFaceError(FaceGenError):
    """There is no face: none in a picture, or none was given."""


class NoKeypointsError(FaceGenError):
    """It isn't known where eyes, nose and mouth of a face are, or where the face is."""


class SeveralPeopleError(FaceGenError):
    """Faces of several people where one person is needed."""


class WrongRecogniserError(FaceGenError):
    """Faces in the numbers of another recogniser than the one needed."""


class MissingClipVisionError(FaceGenError):
    """Faces without the CLIP vision states that are needed."""


class WrongClipVisionError(FaceGenError):
    """CLIP vision states of another model than the one needed."""


class MissingStructureError(FaceGenError):
    """Faces without the structure states of a vision tower that are needed, or with those of another one."""


class NoFeaturesError(FaceGenError):
    """Face parsing saw no part of a face where one was found."""


class WrongBaseModelError(FaceGenError):
    """An adapter and a model that were not made for each other."""


class UnsupportedCheckpointError(FaceGenError):
    """A checkpoint of a base model that isn't supported, or one that isn't whole."""


class NotAnAdapterError(FaceGenError):
    """A file that holds something other than the adapter needed."""


class WrongStructureFileError(FaceGenError):
    """A file that holds another network than the one needed to see the structure of faces."""


class UnreadableFileError(FaceGenError):
    """A file that is missing, empty, cut short or of another kind."""


class NewerFileError(FaceGenError):
    """A file of a version that this release can't read."""


class BrokenModelPackError(FaceGenError):
    """An InsightFace model pack that is gone, not whole, or fails."""


class MissingLibraryError(FaceGenError):
    """A Python library that can't be imported."""


class BadPicturesError(FaceGenError):
    """Pictures that are no RGB batch of numbers from 0 to 1."""


class AlphaChannelError(BadPicturesError):
    """Pictures with a fourth channel."""


class OneChannelError(BadPicturesError):
    """A mask, or pictures of one channel."""


class NoPicturesError(BadPicturesError):
    """An empty batch, or pictures without pixels."""


class NotFiniteError(BadPicturesError):
    """Pictures that hold NaN or infinity."""


class MissingNudeNetError(FaceGenError):
    """NudeNet is not installed."""


class BrokenNudeNetError(FaceGenError):
    """NudeNet is installed, and its model can't be used: damaged, or of another version than is needed."""


class BrokenCheckerError(FaceGenError):
    """The files of a safety checker are damaged, not whole, or of another kind."""


class NoVerdictError(FaceGenError):
    """A safety checker couldn't judge a picture, so that none was let through."""


class UnsafeLabelsError(FaceGenError):
    """It isn't known which labels of an image classifier make a picture unsafe."""


class TinyFilesError(FaceGenError):
    """A file of the tiny model is missing, or another than the pack's own."""
