"""A work, as the backend of several ComfyUIs knows it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...api.local.backend import State
from ...comfyui.checked import Graph
from ..server.works import KnownWork


@dataclass(eq=False)
class Entry(KnownWork):
    """`template` is its flavour's workflow. At a ComfyUI, `node` shows its pictures, `sampler` tells how far it is, and `photo`
    is the name of its photo there; `is_posted` from when it may be in the queue there. `losses` counts the times that it was
    being made and got lost, `refusals` says by URL why a ComfyUI didn't take it, and `files` are those it is made with."""

    template: Graph
    node: str
    sampler: str
    photo: str = ""
    is_posted: bool = False
    losses: int = 0
    refusals: dict[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    task: "asyncio.Task[None] | None" = None

    def stands(self, state: State) -> None:
        """Take notice of how it stands, unless it has ended."""
        if not self.state.has_ended:
            self.state = state
        if self.state.has_ended:
            self.template = {}  # it is remembered as long as its results are
