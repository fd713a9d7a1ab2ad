"""`generate --demo`: each face in all styles, then in one style at several values of s_scale."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..contract import STYLES, FaceGenRequest
from ..models.tiny_files import DRAWN_FACE, TINY
from .engine import Engine
from .model_files import FACEID
from .photos import prepare_folder, read_photo
from .portraits import Wrote, generate_portraits, unheard, write_sheet

Rows = list[list[FaceGenRequest]]
S_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0)  # as many as there are styles, so that the rows of the sheet are equally long


def drawn_face() -> Tensor:
    """Somebody whom the tiny model never saw, RGB [1, 256, 256, 3] (0-1)."""
    return read_photo(TINY / DRAWN_FACE)


def rows(request: FaceGenRequest, method: str, styles: Sequence[str] = STYLES, s_scales: Sequence[float] = S_SCALES) -> Rows:
    """What is asked for a face, one picture each: the row of styles and, where the method knows s_scale, that of its values, in
    the first style."""
    first = [replace(request, style=style, samples=1) for style in styles]
    return [first, [replace(first[0], s_scale=value) for value in s_scales]] if method == FACEID else [first]


def pictures(engine: Engine) -> int:
    """Of each face: all styles and, where the method knows s_scale, its values; one picture is in both rows."""
    return len(STYLES) + (len(S_SCALES) - 1 if engine.method == FACEID else 0)


def generate_demo(
    engine: Engine, request: FaceGenRequest, faces: dict[str, Tensor], out: Path, wrote: Wrote = unheard
) -> list[Path]:
    """`faces`: name -> photo [1, H, W, 3] (0-1). Writes the pictures of each, and contact_sheet.png; gives all paths.

    Raises FaceGenError when a photo shows no face, or when nothing can be written to `out`.
    """
    embedded = {name: engine.embed(photo, name) for name, photo in faces.items()}
    prepare_folder(out)
    files: list[Path] = []
    cells: list[tuple[str, Tensor]] = []
    for name, photo in faces.items():
        face_embeds, crop = embedded[name]
        done: dict[FaceGenRequest, tuple[str, Tensor]] = {}
        shown = ((name, photo[0]), ("face", crop[0]))
        for number, row in enumerate(rows(request, engine.method)):
            cells.append(shown[number])
            for asked in row:
                label = f"s_scale {asked.s_scale:g}" if number else asked.style
                if asked not in done:
                    file = f"{name}_{asked.style}" + (f"_s_scale_{asked.s_scale:g}" if number else "")
                    made = generate_portraits(engine, asked, face_embeds, out, file, label, wrote)
                    files += made.files
                    done[asked] = made.cells[0]
                _, _, state = done[asked][0].partition(": ")
                cells.append((f"{label}: {state}", done[asked][1]))
    return [*files, write_sheet(cells, files, out, columns=len(STYLES) + 1, wrote=wrote)]
