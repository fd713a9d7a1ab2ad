"""How many pictures may be made in one batch: as many as is asked for, or as many as turn out to pay."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from ...contract import FaceGenRequest
from ..asked import shape_of
from ..model_files import ModelFiles

MOST = 8  # pictures, where it is measured what pays
PAYS = 0.9  # a larger batch pays if its pictures take at most this part of the time, each
RUNS = 2  # of a size of batch, before it is judged: a GPU chooses and loads kernels in the first
KEPT = 200  # kinds of batches whose times are known at once: clients choose the sizes, steps and guidance


class Batched(Protocol):
    """What is known of one of a batch. `asked` is its request as the model is asked."""

    @property
    def files(self) -> ModelFiles: ...

    @property
    def asked(self) -> FaceGenRequest: ...


class Room:
    """At most so many; after a batch that was too large for the memory fewer, of such models and such a size."""

    def __init__(self, most: int = 1):
        self._most = most
        self._less: dict[tuple[ModelFiles, int, int], int] = {}

    def of(self, one: Batched) -> int:
        """How many pictures may be made at once, with those of this one."""
        return self._less.get(_size(one), self._most)

    def took(self, batch: Sequence[Batched], seconds: float) -> None:
        """That is how long the engine worked on its pictures."""

    def had_none(self, batch: Sequence[Batched]) -> None:
        """The memory didn't suffice. From now on, at most half as many pictures of such are made at once."""
        self._less[_size(batch[0])] = max(1, _pictures(batch) // 2)


class MeasuredRoom(Room):
    """As many as pay: 1, then 2, 4 and so on up to `most`, each tried when so many wait, and kept if a picture takes less time
    for it. What it brings depends on device, model and size, so each kind of batch is measured where it is made.

    Pictures of one request are made at once in any case, so it begins with their number.
    """

    def __init__(self, most: int = MOST):
        super().__init__(most)
        self._seconds: OrderedDict[object, dict[int, list[float]]] = OrderedDict()

    def of(self, one: Batched) -> int:
        most, pays = super().of(one), _power(one.asked.samples)
        seconds = self._seconds.get(_kind(one), {})
        while pays * 2 <= most and self._is_known(seconds, pays):
            larger = pays * 2
            if self._is_known(seconds, larger) and min(seconds[larger]) > PAYS * min(seconds[pays]):
                break
            pays = larger
        return min(most, pays)

    def took(self, batch: Sequence[Batched], seconds: float) -> None:
        count = _pictures(batch)
        number = _power(count)  # three are at least two at once
        known = self._seconds.setdefault(_kind(batch[0]), {})
        self._seconds.move_to_end(_kind(batch[0]))
        if len(self._seconds) > KEPT:
            self._seconds.popitem(last=False)
        if number > self._most or self._is_known(known, number):
            return
        known.setdefault(number, []).append(seconds / count)
        if self._is_known(known, number) and self._is_known(known, number // 2):
            part, size = min(known[number]) / min(known[number // 2]), f"{batch[0].asked.width}x{batch[0].asked.height}"
            words = "FaceGen: a picture of %s takes %.2f of the time when %d are made at once and not %d: %s"
            logging.info(words, size, part, number, number // 2, "kept" if part <= PAYS else "not kept")

    @staticmethod
    def _is_known(seconds: dict[int, list[float]], count: int) -> bool:
        return len(seconds.get(count, ())) >= RUNS


def _power(count: int) -> int:
    """The largest power of two that is no more."""
    return 1 << (count.bit_length() - 1)


def _pictures(batch: Sequence[Batched]) -> int:
    return sum(one.asked.samples for one in batch)


def _size(one: Batched) -> tuple[ModelFiles, int, int]:
    """What decides how many have room in the memory."""
    return one.files, one.asked.width, one.asked.height


def _kind(one: Batched) -> tuple[ModelFiles, tuple[float, ...]]:
    """What decides how long a picture takes, and what all of a batch have in common."""
    return one.files, shape_of(one.asked)
