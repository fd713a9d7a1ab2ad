"""Photo crops to the structure of faces: parse, keep the features, look at them.

As published with PuLID (https://github.com/ToTheBeginning/PuLID, pipeline_v1_1.py and pipeline_flux.py): what parsing takes for
a feature of the face or for hair stays, in grey; the rest becomes white. Reduction to the tower's size is bicubic without
antialiasing, as the torchvision that the method was published with does it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ....errors import NoFeaturesError
from ...networks import Place, stay
from ..cache import Cache, pixel_key
from .parsing import CLASSES, FaceParsing
from .tower import SIDE, VisionTower

PAINTED_OUT = ("background", "left ear", "right ear", "earring", "neck", "necklace", "clothes", "hat")
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue
CACHED = 8  # faces whose states are remembered; 12 MB each


@dataclass(frozen=True)
class Structure:
    """What the vision tower says of a face.

    pooled   float32 [768]: its output, not normalised.
    hidden   float32 [5, 577, 1024]: five of its hidden states, class token first.
    picture  float32 [512, 512, 3] (0-1): what it was shown, before reduction.
    """

    pooled: Tensor
    hidden: Tensor
    picture: Tensor


Look = Callable[[Tensor], Structure]  # of the face in a crop, RGB [512, 512, 3] (0-1)


class FaceStructure:
    """The two networks that see the structure of a face, running.

    place: takes charge of where each lies. What was seen last is remembered by its pixels. Raises UnreadableFileError or
    WrongStructureFileError for files that hold something else, MissingLibraryError without timm.
    """

    def __init__(self, tower_file: str | Path, parsing_file: str | Path, place: Place = stay):
        self.parsing, self.tower = FaceParsing.load(Path(parsing_file)), VisionTower.load(Path(tower_file))
        self._parsing_ready, self._tower_ready = place(self.parsing), place(self.tower)
        self._seen = Cache(CACHED)

    def look(self, crop: Tensor) -> Structure:
        """The structure of the face in a crop at FFHQ's template, RGB [512, 512, 3] (0-1). Raises NoFeaturesError."""
        return self._seen.get(pixel_key(crop.numpy()), lambda: self._look(crop))

    @torch.no_grad()
    def _look(self, crop: Tensor) -> Structure:
        device = self._parsing_ready()
        picture = crop.movedim(-1, 0)[None].to(device)
        shown = features(picture, self.parsing(picture))
        if shown is None:
            raise NoFeaturesError(
                "Face parsing saw no eyes, nose, mouth, skin or hair where the face is, so nothing is left to look at. A photo "
                "that shows the face larger and clearer is needed."
            )
        pooled, hidden = self.tower(reduced(shown).to(self._tower_ready()))
        return Structure(pooled[0].cpu(), hidden[0].cpu(), shown[0].movedim(0, -1).cpu())


def features(pictures: Tensor, classes: Tensor) -> Tensor | None:
    """RGB [B, 3, H, W] with the class of each pixel [B, H, W]: what shows a face, in grey on white. None: nothing does."""
    gone = torch.isin(classes, torch.tensor([CLASSES.index(name) for name in PAINTED_OUT], device=classes.device))[:, None]
    if gone.all():
        return None
    grey = sum(share * pictures[:, [channel]] for channel, share in enumerate(GREY))
    return torch.where(gone, 1.0, grey).expand_as(pictures)


def reduced(pictures: Tensor) -> Tensor:
    """At the tower's size, [B, 3, 336, 336]."""
    return F.interpolate(pictures, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
