"""A photo with its faces marked."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .face_analysis import Face, from_left

CHOSEN, OTHER = (0, 220, 90), (255, 160, 0)


def annotate(picture: Tensor, faces: list[Face], chosen: list[Face]) -> Tensor:
    """Boxes, five points, index from the left and confidence drawn on an RGB picture [H, W, 3] (0-1); a new tensor."""
    image = Image.fromarray((picture.detach().cpu().float() * 255).round().clamp(0, 255).to(torch.uint8).numpy())
    draw = ImageDraw.Draw(image)
    stroke = max(1, round(max(image.size) / 300))
    font = ImageFont.load_default(size=max(10, stroke * 8))
    for index, face in enumerate(from_left(faces)):
        colour = CHOSEN if any(face is c for c in chosen) else OTHER
        x0, y0, x1, y1 = (float(v) for v in face.bbox)
        draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=stroke)
        for x, y in face.kps:
            draw.ellipse((x - stroke, y - stroke, x + stroke, y + stroke), fill=colour)
        _label(draw, f"{index}  {face.confidence:.2f}", (x0, y0), colour, font, image.size)
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255.0)


def _label(draw, text, corner, colour, font, size) -> None:
    """Text on a filled ground above the corner, kept inside the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(0, corner[0]), max(0, size[0] - width))
    y = min(max(0, corner[1] - height), max(0, size[1] - height))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0), font=font)
