"""When in the sampling a face acts."""

from typing import Any

import torch
from torch import Tensor

from ....errors import FaceGenError
from .rows import Chunks


class SigmaWindow:
    """The part of the sampling in which a face acts."""

    def __init__(self, start: float, end: float):
        self.range = (start, end)
        self._held: tuple[Tensor | None, bool] = (None, False)  # replaced as a whole: several devices may ask at once

    @classmethod
    def between(cls, model: Any, start_percent: float, end_percent: float) -> "SigmaWindow | None":
        """None for the whole sampling, which then costs nothing. Raises FaceGenError when the end comes before the start."""
        if start_percent > end_percent:
            raise FaceGenError(f"start_percent {start_percent:g} lies after end_percent {end_percent:g}.")
        if start_percent <= 0 and end_percent >= 1:
            return None
        sampling = model.get_model_object("model_sampling")
        return cls(sampling.percent_to_sigma(start_percent), sampling.percent_to_sigma(end_percent))

    def open(self, call: Chunks, sigmas: Tensor) -> bool:
        """Whether this step lies in it. A sampler's call knows; else sigma is read from the device, once per step."""
        return self.range not in call.closed if call.closed is not None else self.holds(sigmas)

    @torch.compiler.disable  # a compiled model would be compiled anew for each step's sigma
    def holds(self, sigmas: Tensor) -> bool:
        """Whether the first of these sigmas lies in it; they are one tensor for all blocks of a step."""
        known, held = self._held
        if sigmas is not known:
            start, end = self.range
            held = end <= float(sigmas[0]) <= start
            self._held = (sigmas, held)
        return held
