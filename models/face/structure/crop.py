"""The face as the vision tower wants it: turned upright, at FFHQ's template.

Source: https://github.com/ToTheBeginning/PuLID, which uses https://github.com/xinntao/facexlib for it. There the five points
come from RetinaFace; here they come from InsightFace's detector, which finds the same ones, up to a pixel or so.
"""

import numpy as np
import torch
from torch import Tensor

from ....errors import FaceGenError
from ..analysis import Face, around

SIZE = 512  # pixels
# Where eyes, nose and corners of the mouth come to lie in it.
TEMPLATE = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043], [313.08905, 371.15118]]
)
AROUND = (135, 133, 132)  # blue, green, red of what lies outside the photo
LONGEST = 1024  # pixels of a photo's longer side: PuLID's own programs reduce larger ones first


def ffhq_crop(bgr: np.ndarray, face: Face) -> Tensor:
    """A face of a photo, BGR uint8 [H, W, 3], upright: RGB float32 [512, 512, 3] (0-1). Raises FaceGenError."""
    import cv2

    part, kps = around(bgr, face.kps)
    part, kps = _reduced(part, kps)
    matrix = cv2.estimateAffinePartial2D(kps.astype(np.float64), TEMPLATE, method=cv2.LMEDS)[0]
    if matrix is None:
        raise FaceGenError("A face can't be turned upright: its eyes, nose and mouth were found in one spot.")
    crop = cv2.warpAffine(part, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_CONSTANT, borderValue=AROUND)
    return torch.from_numpy(np.ascontiguousarray(crop[:, :, ::-1])).float() / 255.0


def _reduced(bgr: np.ndarray, kps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    height, width = bgr.shape[:2]
    share = LONGEST / max(height, width)
    if share >= 1:
        return bgr, kps
    size = max(1, int(width * share)), max(1, int(height * share))
    smaller: np.ndarray = cv2.resize(bgr, size, interpolation=cv2.INTER_LANCZOS4)
    return smaller, kps * np.array([size[0] / width, size[1] / height])
