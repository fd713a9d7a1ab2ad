"""What can be verified: each method on each base model that it was published for."""

from collections.abc import Mapping
from typing import NamedTuple

from ....models.checkpoint_kind import FLUX1, SD15, SDXL
from ....models.published import (
    STARTER,
    STARTER_OF_FACEID_SDXL,
    STARTER_OF_INSTANTID,
    STARTER_OF_PULID,
    STARTER_OF_PULID_FLUX,
)


class Way(NamedTuple):
    """A method on a base. words: how it is called; starter: kind of file -> the published one that is taken of several."""

    words: str
    method: str
    base: str
    starter: Mapping[str, str]


FACEID_SD15 = "faceid-sd15"
# By the names that the command knows them by.
WAYS = {
    FACEID_SD15: Way("FaceID, SD1.5", "faceid", SD15, STARTER),
    "faceid-sdxl": Way("FaceID, SDXL", "faceid", SDXL, STARTER_OF_FACEID_SDXL),
    "instantid": Way("InstantID, SDXL", "instantid", SDXL, STARTER_OF_INSTANTID),
    "pulid-sdxl": Way("PuLID, SDXL", "pulid", SDXL, STARTER_OF_PULID),
    "pulid-flux": Way("PuLID, FLUX.1", "pulid", FLUX1, STARTER_OF_PULID_FLUX),
}
