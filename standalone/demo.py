"""`generate --demo`: each face in all styles, then in one style at several values of s_scale."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..contract import STYLES, FaceGenRequest
from ..models.tiny_files import DRAWN_FACE, TINY
from .engine import Engine
from .model_files import FACEID
from .photos import prepare_folder, read_photo
from .portraits import Wrote, generate_portraits, unheard, write_sheet

S_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0)  # as many as there are styles, so that the rows of the sheet are equally long


def drawn_face() -> Tensor:
    """Somebody whom the tiny model never saw, RGB [1, 128, 128, 3] (0-1)."""
    return read_photo(TINY / DRAWN_FACE)


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
        styles = [replace(request, style=style, samples=1) for style in STYLES]
        scales = [replace(styles[0], s_scale=value) for value in S_SCALES]
        rows = [((name, photo[0]), styles), (("face", crop[0]), scales)]
        for shown, row in rows if engine.method == FACEID else rows[:1]:
            cells.append(shown)
            for asked in row:
                label = asked.style if row is styles else f"s_scale {asked.s_scale:g}"
                if asked not in done:
                    file = f"{name}_{asked.style}" + ("" if row is styles else f"_s_scale_{asked.s_scale:g}")
                    made = generate_portraits(engine, asked, face_embeds, out, file, label, wrote)
                    files += made.files
                    done[asked] = made.cells[0]
                _, _, state = done[asked][0].partition(": ")
                cells.append((f"{label}: {state}", done[asked][1]))
    return [*files, write_sheet(cells, files, out, columns=len(STYLES) + 1, wrote=wrote)]
