"""How many pictures may be made in one batch: as many as is asked for, or as many as turn out to pay."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ....contract import FaceGenRequest
from ...asked import shape_of
from ...memory import make_room
from ...model_files import ModelFiles

MOST = 8  # pictures, where it is measured what pays
# A larger batch pays if its pictures take at most this part of the time, each. The first of a batch waits for the last: at 0.75
# the two weigh the same for few who wait, and where many do, every part below 1 is a gain.
PAYS = 0.8
RUNS = 2  # of a size of batch, before it is judged: a GPU chooses and loads kernels in the first
AGAIN = 200  # batches, after which all is measured anew: something else may have used the GPU meanwhile
KEPT = 200  # kinds of batches whose times are known at once: clients choose the sizes, steps and guidance


class Batched(Protocol):
    """What is known of one of a batch. `asked` is its request as the model is asked."""

    @property
    def files(self) -> ModelFiles: ...

    @property
    def asked(self) -> FaceGenRequest: ...


One = TypeVar("One", bound=Batched)
Kind = tuple[ModelFiles, tuple[float, ...], bool]
Size = tuple[ModelFiles, int, int]


def kind(one: Batched) -> Kind:
    """What all of a batch have in common, and what decides how long one takes."""
    return one.files, shape_of(one.asked), one.asked.safety_checker


class Room:
    """At most so many; after a batch that was too large for the memory fewer, of such models and such a size."""

    evicts = True  # whether models that nobody uses just now make room for a batch

    def __init__(self, most: int = 1):
        self._most = most
        self._less: dict[Size, int] = {}

    def of(self, one: Batched) -> int:
        """How many pictures may be made at once, with those of this one."""
        return self._less.get(_size(one), self._most)

    def cut(self, batch: Sequence[One]) -> list[One]:
        """Those of a batch, which has room, that are made at once: the first ones."""
        return list(batch)

    def took(self, batch: Sequence[Batched], seconds: float) -> None:
        """That is how long the engine worked on the pictures of a batch."""

    def had_none(self, batch: Sequence[Batched]) -> None:
        """So many at once failed, by the memory or otherwise. From now on, at most half as many of such are tried."""
        self._less[_size(batch[0])] = max(1, _pictures(batch) // 2)


@dataclass
class Times:
    """Of a kind of batch. `runs`: its number of pictures -> how many batches of it there were, and the least seconds that one
    picture took in them."""

    batches: int = 0
    runs: dict[int, tuple[int, float]] = field(default_factory=dict)

    def add(self, count: int, seconds: float) -> None:
        runs, least = self.runs.get(count, (0, seconds))
        self.runs[count] = runs + 1, min(least, seconds)

    def part(self, count: int) -> float | None:
        """Which part of the time a picture takes with so many at once, beside half as many; None where it isn't known."""
        (more, of_more), (fewer, of_fewer) = (self.runs.get(one, (0, 0.0)) for one in (count, count // 2))
        return of_more / of_fewer if min(more, fewer) >= RUNS else None


class MeasuredRoom(Room):
    """As many as pay: 1, then 2, 4 and so on up to `most`, each tried when so many wait, and kept if a picture takes less time
    for it. What it brings depends on device, model and size, so each kind of batch is measured where it is made.

    Pictures of one request are made at once in any case, so it begins with their number. No model is given up for a batch,
    which would cost more than it brings.
    """

    evicts = False

    def __init__(self, most: int = MOST):
        super().__init__(most)
        self._times: OrderedDict[Kind, Times] = OrderedDict()

    def of(self, one: Batched) -> int:
        most, pays = super().of(one), _power(one.asked.samples)
        times = self._times.get(kind(one), Times())
        while pays * 2 <= most and times.runs.get(pays, (0, 0.0))[0] >= RUNS:
            part = times.part(pays * 2)
            if part is not None and part > PAYS:
                break
            pays *= 2
        return min(most, pays)

    def cut(self, batch: Sequence[One]) -> list[One]:
        """A number of pictures that is measured, so that none is made on and on whose time nobody knows."""
        some = list(batch)
        while len(some) > 1 and _power(_pictures(some)) != _pictures(some):
            some.pop()
        return some

    def took(self, batch: Sequence[Batched], seconds: float) -> None:
        count, which = _pictures(batch), kind(batch[0])
        times = self._times.setdefault(which, Times())
        self._times.move_to_end(which)
        if len(self._times) > KEPT:
            self._times.popitem(last=False)
        times.batches += 1
        if times.batches > AGAIN:
            self._times[which] = times = Times()
            self._less.pop(_size(batch[0]), None)
        if count != _power(count):
            return
        before = {more: times.part(more) for more in (count, 2 * count)}
        times.add(count, seconds / count)
        for more, known in before.items():
            if known is None and (part := times.part(more)) is not None:
                _judged(batch[0], more, part)

    def had_none(self, batch: Sequence[Batched]) -> None:
        self._less[_size(batch[0])] = _power(max(1, _pictures(batch) - 1))


def _judged(one: Batched, count: int, part: float) -> None:
    """Say what was found, and give back the memory that a batch of no use took."""
    asked, checkpoint = one.asked, one.files.checkpoint
    what = f"{checkpoint.name}, {asked.width}x{asked.height}, {asked.num_inference_steps} steps"
    words = "FaceGen: %s: with %d at once, a picture takes %.2f of the time that it takes with %d, so that is %s"
    logging.info(words, what, count, part, count // 2, "kept" if part <= PAYS else "not done")
    if part > PAYS:
        make_room()


def _power(count: int) -> int:
    """The largest power of two that is no more."""
    return 1 << (count.bit_length() - 1)


def _pictures(batch: Sequence[Batched]) -> int:
    return sum(one.asked.samples for one in batch)


def _size(one: Batched) -> Size:
    """What decides how many have room in the memory."""
    return one.files, one.asked.width, one.asked.height
