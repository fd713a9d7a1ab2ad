"""A request's pictures, into files and onto a contact sheet."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..contract import OF_THE_ANSWER, FaceGenRequest
from ..models.face.embeds import FaceEmbeds
from ..models.face.likeness import Likeness, likenesses
from .engine import Engine
from .photos import contact_sheet, save_png

Wrote = Callable[[Path], None]  # is told of each file when it is there


def unheard(_file: Path) -> None:
    """The Wrote of nobody."""


class Portraits(NamedTuple):
    """files: the pictures; cells: label and RGB picture [H, W, 3] (0-1) of each, for a contact sheet."""

    files: list[Path]
    cells: list[tuple[str, Tensor]]


def generate_portraits(
    engine: Engine,
    request: FaceGenRequest,
    face_embeds: FaceEmbeds,
    out: Path,
    name: str = "",
    label: str = "",
    wrote: Wrote = unheard,
) -> Portraits:
    """Generate the pictures and write them as NAME_SEED_NUMBER.png; name and label are the style's unless given.

    Each holds its parameters, with the likeness in percent and the recogniser that gave it: None where there is none, or
    where the picture is redacted.
    """
    began = time.perf_counter()
    result = engine.generate(request, face_embeds, progress=label or request.style)
    seconds = time.perf_counter() - began
    parameters = {
        **{k: v for k, v in result.request.as_dict().items() if k not in OF_THE_ANSWER},
        "face_image": Path(request.face_image).name,
        engine.method: result.adapter,
        "seconds": round(seconds, 2),
    }
    portraits = Portraits([], [])
    scores = likenesses(result.images, engine.face_analysis, face_embeds)
    for number, (picture, flagged, score) in enumerate(zip(result.images, result.flagged, scores, strict=True)):
        percent = None if flagged or score.percent is None else round(score.percent)
        path = out / f"{name or request.style}_{result.request.seed}_{number}.png"
        shown = {"likeness_percent": percent, "likeness_recogniser": score.recogniser}
        save_png(picture, path, {**parameters, "sample": number, "flagged": flagged, **shown})
        wrote(path)
        state = "redacted" if flagged else in_few_words(score)
        portraits.files.append(path)
        portraits.cells.append((f"{label or request.style}: {state}", picture))
    return portraits


def in_few_words(score: Likeness, by: bool = True) -> str:
    """Under a picture on a contact sheet; `by` names the recogniser, too."""
    if score.percent is None:
        return "no face found" if score.why == "no face" else "not measured"
    return f"{score.percent:.0f} %" + (f" by {score.by.removeprefix('the ')}" if by else "")


def write_sheet(
    cells: list[tuple[str, Tensor]], files: list[Path], out: Path, columns: int = 7, wrote: Wrote = unheard
) -> Path:
    """The cells as contact_sheet.png, which names the files in its parameters."""
    sheet = out / "contact_sheet.png"
    save_png(contact_sheet(cells, columns=columns), sheet, {"pictures": [file.name for file in files]})
    wrote(sheet)
    return sheet
