"""`generate --demo`: each face in all styles, then in one style at several values of s_scale."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..api.contract import STYLES, FaceGenRequest
from .drawing import draw, write_sheet
from .engine import Engine
from .photos import prepare_folder

S_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0)  # as many as there are styles, so that the rows of the sheet are equally long
SOMEBODY = 11  # the seed of the drawn face


def drawn_face() -> Tensor:
    """Somebody the tiny model never saw, RGB [1, 128, 128, 3] (0-1)."""
    import numpy as np

    from .training.drawing import draw as draw_portrait
    from .training.person import Person, View

    person = Person.random(np.random.default_rng([SOMEBODY, SOMEBODY]))
    picture, _ = draw_portrait(person, View(yaw=0.35, smile=0.9, background="teal"), "realistic")
    return torch.from_numpy(picture)[None] / 255


def draw_demo(engine: Engine, request: FaceGenRequest, faces: dict[str, Tensor], out: Path) -> list[Path]:
    """`faces`: name -> photo [1, H, W, 3] (0-1). Writes the pictures and contact_sheet.png; gives all paths.

    Raises FaceGenError when a photo shows no face, or when nothing can be written to `out`.
    """
    embedded = {name: engine.embed(photo) for name, photo in faces.items()}
    prepare_folder(out)
    files: list[Path] = []
    cells: list[tuple[str, Tensor]] = []
    for name, photo in faces.items():
        embeds, crop = embedded[name]
        rows = [[("style", replace(request, style=style), style) for style in STYLES]]
        rows.append([("s_scale", replace(request, s_scale=value), f"s_scale {value:g}") for value in S_SCALES])
        for number, (row, shown) in enumerate(zip(rows, ((name, photo[0]), ("face", crop[0])), strict=True)):
            cells.append(shown)
            for kind, asked, label in row:
                file = f"{name}_{asked.style}" + (f"_{kind}_{asked.s_scale:g}" if number else "")
                drawn = draw(engine, replace(asked, samples=1), embeds, out, file, label)
                files += drawn.files
                cells += drawn.cells
    return [*files, write_sheet(cells, files, out, columns=len(STYLES) + 1)]
