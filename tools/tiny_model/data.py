"""Drawings to train with: many people, each seen twice, each time in all styles; all of it on the device that trains."""

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .drawings.person import STYLES
from .shares import ARRAYS, CLUTTER, ENOUGH, VIEWS, arrays_of, drawn, person_of
from .worker import Worker

EACH = VIEWS * len(STYLES)  # drawings of a person
LOOK_EVERY = 1.0  # seconds between two looks for people who were drawn meanwhile
REALISTIC = STYLES.index("realistic")


@dataclass
class Drawings:
    """Of the first `ready` people, who may grow in number while a stage trains. Rows are numbered by person, view and style.

    pictures uint8 [rows, SIDE, SIDE, 3]; points [rows, 5, 2]; structure [rows, 6]; changed [rows]: hair or glasses are not the
    person's own, but what the caption asks for; answers [rows, kinds], texts [rows, kinds of captions, captions, 77].
    """

    worker: Worker
    name: str
    ready: int = 0
    looked: float = 0.0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        device = self.worker.device
        self._arrays = arrays_of(self.folder)
        self.people = len(self._arrays["points"])
        self.count = torch.zeros((), device=device)  # `ready`, where a recorded step can read it
        for key, array in self._arrays.items():
            whole = torch.from_numpy(array)  # the file itself, where no other memory is needed
            self.tensors[key] = whole if device.type == "cpu" else torch.empty_like(whole, device=device)
        self.look()

    def __getattr__(self, name: str) -> Tensor:
        if name not in ARRAYS or name not in self.__dict__.get("tensors", {}):
            raise AttributeError(name)
        tensor = self.tensors[name]
        return tensor.flatten(0, 1) if name == "clutter" else tensor.flatten(0, 2)

    @property
    def folder(self) -> Path:
        return self.worker.folder / self.name

    @cached_property
    def attributes(self) -> Tensor:
        """Each person's, [people, n], with mean 0 and a spread of about 1."""
        people = [person_of(self.worker.seed, self.name, number)[0].vector() for number in range(self.people)]
        vectors = torch.from_numpy(np.stack(people)).to(self.worker.device)
        return (vectors - vectors.mean(dim=0)) / (vectors.std(dim=0, correction=0) + 0.05)

    def look(self) -> None:
        """Take in who was drawn meanwhile, in order."""
        if self.ready == self.people or time.monotonic() - self.looked < LOOK_EVERY:
            return
        numbers, before = drawn(self.folder), self.ready
        while self.ready in numbers:
            self.ready += 1
        if self.worker.device.type != "cpu" and self.ready > before:
            for key, array in self._arrays.items():
                self.tensors[key][before : self.ready].copy_(torch.from_numpy(array[before : self.ready]))
        self.count.fill_(self.ready)
        self.looked = time.monotonic()

    def wait(self, least: int) -> None:
        """Until so many people are there."""
        while self.ready < least:
            time.sleep(0.1)
            self.look()

    def settle(self) -> None:
        """From here on nobody comes: who isn't drawn in time is left out where time is limited, and waited for otherwise."""
        self.looked = 0.0
        if self.worker.box is None:
            self.wait(self.people)
        else:
            while self.ready < self.people and time.monotonic() < self.worker.box.drawn_by:
                time.sleep(0.1)
                self.look()
            self.looked = 0.0
            (self.folder / ENOUGH).touch()
            self.look()
        self.worker.say(f"{self.name}: {self.ready} people, {self.ready * EACH} pictures")

    def held(self, rows: Tensor, columns: list[int]) -> Tensor:
        """These columns of the rows' structure, [n, columns]. Indexing with the list would copy it to the device each time."""
        structure = self.structure[rows]
        return torch.stack([structure[:, column] for column in columns], dim=1)

    # --- chance -----------------------------------------------------------------------------------------------------

    def rows(self, n: int) -> Tensor:
        """Any drawings, [n]."""
        return (torch.rand(n, device=self.count.device) * (self.count * EACH)).long()

    def someone(self, n: int) -> Tensor:
        """So many different people, [n]. n: at most `ready`."""
        chance = torch.rand(self.people, device=self.count.device)
        there = torch.arange(self.people, device=self.count.device) < self.count
        return torch.where(there, chance, chance - 2).topk(n).indices

    def as_they_are(self, people: Tensor) -> Tensor:
        """A drawing of each person as the person is, [n]."""
        rows = people[:, None] * EACH + torch.arange(EACH, device=people.device)
        return rows.gather(1, _pick(~self.changed[rows]))[:, 0]

    def photos(self, people: Tensor, views: Tensor) -> Tensor:
        """The same, of that view, and realistic in every second case; of the first view, where all of the other are changed."""
        along = torch.arange(len(STYLES), device=people.device)
        rows = (people * VIEWS + views)[:, None] * len(STYLES) + along
        fits = ~self.changed[rows]
        rows = torch.where(fits.any(dim=1, keepdim=True), rows, people[:, None] * EACH + along)
        fits = ~self.changed[rows]
        realistic = fits[:, REALISTIC] & (torch.rand(len(people), device=people.device) < 0.5)
        return torch.where(realistic, rows[:, REALISTIC], rows.gather(1, _pick(fits))[:, 0])

    def nothings(self, n: int) -> Tensor:
        """Pictures without a face, uint8 [n, side, side, 3]."""
        return self.clutter[(torch.rand(n, device=self.count.device) * (self.count * CLUTTER)).long()]


def _pick(fits: Tensor) -> Tensor:
    """The place [n, 1] of one that fits in each row of [n, m], all equally likely."""
    return torch.rand(fits.shape, device=fits.device).masked_fill(~fits, -1).argmax(dim=1, keepdim=True)
