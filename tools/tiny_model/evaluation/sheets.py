"""Contact sheets: photos of unseen people and what was drawn of them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..drawings.person import STYLES
from .evaluate import ASKED, SUBJECT
from .sampling import Job, NetworkPortraits

ROWS = 13  # of a sheet


def save_sheets(portraits: NetworkPortraits, folder: Path, people: int = 25) -> None:
    """`people` in all styles beside their photos, ROWS to a sheet, and eight of them by s_scale and by words."""
    people = min(people, len(portraits.photos))
    photos = portraits.photos.cpu()
    pictures = portraits.draw([Job(n, style, SUBJECT, 100 + n) for n in range(people) for style in STYLES])
    rows = torch.cat([photos[:people, None], pictures.unflatten(0, (people, -1))], dim=1)
    for number, part in enumerate(rows.split(ROWS), start=1):
        _save(part, folder / f"styles-{number}.jpg")
    few = min(8, people)
    asked = [", ".join(ASKED.values()), *ASKED.values()]
    jobs = [Job(n, "realistic", SUBJECT, 300 + n, s_scale=s) for n in range(few) for s in (0.0, 0.5, 1.0)]
    held = portraits.draw(jobs).unflatten(0, (few, -1))
    said = portraits.draw([Job(n, "realistic", words, 300 + n) for n in range(few) for words in asked]).unflatten(0, (few, -1))
    _save(torch.cat([photos[:few, None], held, said], dim=1), folder / "structure-and-words.jpg")


def _save(rows: Tensor, path: Path) -> None:
    """[rows, columns, 3, H, W] (0-255) as one JPEG."""
    height, width = rows.shape[0] * rows.shape[3], rows.shape[1] * rows.shape[4]
    levels = rows.permute(0, 3, 1, 4, 2).reshape(height, width, 3).numpy().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path, quality=90)
