"""A photo with its faces marked."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .face_analysis import Face, from_left

CHOSEN, OTHER = (0, 220, 90), (255, 160, 0)
READABLE = 512  # pixels; a smaller photo is enlarged until its longer side has as many


def annotate(picture: Tensor, faces: list[Face], chosen: list[Face]) -> Tensor:
    """Boxes, five points, index from the left and confidence drawn on an RGB picture [H, W, 3] (0-1); a new tensor.

    Lines and letters grow with the picture; a small one is enlarged by a whole number, so that they can be read.
    """
    image = Image.fromarray((picture.detach().cpu().float() * 255).round().clamp(0, 255).to(torch.uint8).numpy())
    factor = max(1, -(-READABLE // max(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC) if factor > 1 else image
    draw = ImageDraw.Draw(image)
    stroke = max(2, round(max(image.size) / 300))
    font = ImageFont.load_default(size=stroke * 8)
    taken: list[tuple[float, ...]] = []
    for index, face in enumerate(from_left(faces)):
        colour = CHOSEN if any(face is c for c in chosen) else OTHER
        x0, y0, x1, y1 = (float(v) * factor for v in face.bbox)
        draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=stroke)
        for x, y in face.kps * factor:
            draw.ellipse((x - stroke, y - stroke, x + stroke, y + stroke), fill=colour)
        text = f"{index}  {face.confidence:.2f}" + ("  chosen" if colour == CHOSEN else "")
        taken.append(_label(draw, text, (x0, y0, x1, y1), colour, font, image.size, taken))
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255.0)


def _label(draw, text, box, colour, font, size, taken) -> tuple[float, ...]:
    """Text on a filled ground above the box, or below it where there is no room; inside the picture, off other labels."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(0, box[0]), max(0, size[0] - width))
    lowest = max(0, size[1] - height)
    places = [box[1] - height, box[3], *(box[1] - height * step for step in (2, 3)), box[3] + height, box[1]]
    inside = [y for y in places if 0 <= y <= lowest] or [min(max(0, box[1]), lowest)]
    free = [y for y in inside if not any(_overlap((x, y, x + width, y + height), other) for other in taken)]
    y = (free or inside)[0]
    ground = (x, y, x + width, y + height)
    draw.rectangle(ground, fill=colour)
    draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0), font=font)
    return ground


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
