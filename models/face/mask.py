"""Where the faces of a photo are, as a mask with soft edges."""

import torch
from torch import Tensor

from .analysis import Face

# Distances from the face's centre, in half box widths and heights: an ellipse that is white, and where it has faded out.
WHITE, BLACK = 1.1, 1.5


def face_mask(faces: list[Face], height: int, width: int) -> Tensor:
    """float32 [height, width]: 1 over the faces, from forehead to chin, falling to 0 around them."""
    mask = torch.zeros(height, width)
    for face in faces:
        x0, y0, x1, y1 = face.bbox.tolist()
        rows, down = _span(y0, y1, height)
        columns, across = _span(x0, x1, width)
        soft = ((BLACK - torch.hypot(down[:, None], across[None])) / (BLACK - WHITE)).clamp(0, 1)
        mask[rows, columns] = torch.maximum(mask[rows, columns], soft)
    return mask


def _span(low: float, high: float, size: int) -> tuple[slice, Tensor]:
    """The pixels along one side that the faded ellipse reaches, and their distances from the middle in half box sides."""
    middle, half = (low + high) / 2, (high - low) / 2
    first, last = (min(max(0, int(middle + sign * BLACK * half) + more), size) for sign, more in ((-1, 0), (1, 1)))
    return slice(first, last), (torch.arange(first, last) + 0.5 - middle) / half
