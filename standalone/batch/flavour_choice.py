"""Which flavour a row is made with: the one that it names, else the settings', else the first that has its files."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...api.local.config import LocalConfig
from ...api.local.flavours import TINY, fitting
from ...contract import ContractError
from ...errors import FaceGenError
from ..server.engines import Engines, told


@dataclass(frozen=True, eq=False)
class FlavourChoice:
    """Of the flavours of `config`, with the files that `engines` finds."""

    config: LocalConfig
    engines: Engines

    def of(self, endpoint: str, model_id: Any) -> str:
        """A flavour's name, for an endpoint's name and what a row has as model_id. Raises ContractError."""
        if model_id is None:
            return self._usual(endpoint)
        name = self.config.flavour_of(model_id)
        if name is None or name not in (able := fitting(endpoint, self.config.flavours)):
            there = ", ".join(fitting(endpoint, self.config.flavours))
            raise ContractError(
                {"model_id": [f"There is no flavour {str(model_id)[:80]!r} for {endpoint}; there are {there}."]}
            )
        return next(one for one in able if one == name)

    def files(self, flavour: str, style: str) -> Mapping[str, str]:
        """The names of the files that it is made with, by what they are. Raises ContractError."""
        found = self._files(flavour, style)
        if isinstance(found, FaceGenError):
            raise ContractError({"model_id": [f"{flavour} can't be made. {found}"]})
        return found

    @functools.lru_cache(maxsize=1000)  # noqa: B019 - one for each command
    def _files(self, flavour: str, style: str) -> Mapping[str, str] | FaceGenError:
        try:
            return told(self.engines.files(self.config.flavours[flavour], style))
        except FaceGenError as error:
            return error

    @functools.lru_cache(maxsize=10)  # noqa: B019
    def _usual(self, endpoint: str) -> str:
        flavours = fitting(endpoint, self.config.flavours)
        if self.config.default in flavours:
            return str(self.config.default)
        if self.engines.models is None and TINY in flavours:
            return TINY
        lacks = {name: self._files(name, "") for name in flavours if name != TINY}
        for name, found in lacks.items():
            if not isinstance(found, FaceGenError):
                return name
        why = " ".join(f"{name}: {found}" for name, found in lacks.items()) or "No flavour of the settings is for it."
        raise ContractError({"endpoint": [f"{endpoint} can't be made. {why}"]})
