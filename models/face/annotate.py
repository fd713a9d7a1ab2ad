"""A photo with its faces marked."""

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .analysis import Face, from_left

CHOSEN, OTHER = (0, 220, 90), (255, 160, 0)
READABLE = 512  # pixels; a smaller photo is enlarged until its longer side has as many
FAR = 1 << 20  # pixels; no line is drawn to beyond


def annotate(bgr: np.ndarray, faces: list[Face], chosen: list[Face]) -> np.ndarray:
    """Boxes, five points, index from the left and confidence on a picture, BGR uint8 [H, W, 3]: RGB uint8 [h, w, 3].

    Lines and letters grow with the picture; a small one is enlarged by a whole number, so that they can be read.
    """
    import cv2

    factor = max(1, -(-READABLE // max(bgr.shape[:2])))
    canvas: np.ndarray = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    if factor > 1:
        canvas = cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    sides = canvas.shape[:2]
    stroke = max(2, round(min(max(sides), 16 * min(sides)) / 300))  # in a strip, letters that fit into its width
    taken: list[tuple[int, ...]] = []
    for index, face in enumerate(from_left(faces)):
        is_chosen = any(face is c for c in chosen)
        colour = CHOSEN if is_chosen else OTHER
        x0, y0, x1, y1 = (int(v) for v in (face.bbox * factor).round().clip(-FAR, FAR))
        cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, stroke)
        for x, y in (face.kps * factor).round().clip(-FAR, FAR).astype(int).tolist():
            cv2.circle(canvas, (x, y), stroke, colour, -1)
        text = f"{index}  {face.confidence:.2f}" + ("  chosen" if is_chosen else "")
        label = _label(text, colour, stroke * 8)
        x, y = _place(label.shape[:2], (x0, y0, x1, y1), canvas.shape[:2], taken)
        taken.append((x, y, x + label.shape[1], y + label.shape[0]))
        part = canvas[y : y + label.shape[0], x : x + label.shape[1]]
        part[:] = label[: part.shape[0], : part.shape[1]]
    return canvas


def as_batch(marked: list[np.ndarray]) -> Tensor:
    """Pictures of one size, RGB uint8 [h, w, 3], as a batch [B, h, w, 3] (0-1)."""
    batch = torch.empty(len(marked), *marked[0].shape)
    for picture, canvas in zip(batch, marked, strict=True):
        torch.div(torch.from_numpy(canvas), 255.0, out=picture)
    return batch


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _label(text: str, colour: tuple[int, int, int], size: int) -> np.ndarray:
    """Black text on a ground of that colour, RGB uint8 [h, w, 3]."""
    left, top, right, bottom = (int(v) for v in _font(size).getbbox(text))
    image = Image.new("RGB", (right - left + 4, bottom - top + 4), colour)
    ImageDraw.Draw(image).text((2 - left, 2 - top), text, fill=(0, 0, 0), font=_font(size))
    return np.asarray(image)


def _place(
    label: tuple[int, int], box: tuple[int, ...], size: tuple[int, int], taken: list[tuple[int, ...]]
) -> tuple[int, int]:
    """Left and top of a label (height, width): above the box or below it, inside the picture, off the other labels."""
    (height, width), (rows, columns) = label, size
    x = min(max(0, box[0]), max(0, columns - width))
    lowest = max(0, rows - height)
    places = [box[1] - height, box[3], *(box[1] - height * step for step in (2, 3)), box[3] + height, box[1]]
    inside = [y for y in places if 0 <= y <= lowest] or [min(max(0, box[1]), lowest)]
    free = [y for y in inside if not any(_overlap((x, y, x + width, y + height), other) for other in taken)]
    return x, (free or inside)[0]


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
