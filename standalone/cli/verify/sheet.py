"""The contact sheet of a report: a band for each way, a row for the face in each style, one without it, one for s_scale."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from ...photos import to_image, to_tensor
from .drawing import Drawing, Picture
from .report import FAILED, LACKS, NOT_REACHED, Outcome, Report, alike, costs, failing, spread

CELL, GAP, MARGIN, SIDE = 232, 12, 28, 128  # pixels: of a picture, between two, around all, of the column of rows' names
TITLE, HEADING, TEXT, SMALL = 30, 22, 17, 14  # heights of letters
GROUND, BAND, FRAME = (24, 25, 29), (38, 40, 47), (14, 14, 16)
WHITE, GREY, WARM, RED = (236, 236, 238), (166, 168, 176), (240, 184, 96), (244, 128, 112)
Colour = tuple[int, int, int]


class Line(NamedTuple):
    text: str
    size: int = TEXT
    colour: Colour = WHITE


def contact_sheet(report: Report, photo: Tensor) -> Tensor:
    """RGB [H, W, 3] (0-1). photo: [1, H, W, 3] (0-1)."""
    most = max((len(row) for _, drawing in report.drawn for row in (drawing.styles, drawing.s_scales)), default=5)
    width = 2 * MARGIN + SIDE + max(most, 5) * (CELL + GAP)
    bands = [_head(report, photo, width)]
    for outcome, drawing in report.drawn:
        bands += _of_way(outcome, drawing, width)
    for outcome in report.of(FAILED):
        bands.append(_band([Line(f"{outcome.way.words}: failed", HEADING, RED), Line(outcome.words)], width, BAND))
    unseen = [Line(f"{o.way.words}: {o.words or o.state}", SMALL, GREY) for o in report.of(LACKS, NOT_REACHED)]
    if unseen:
        bands.append(_band([Line("Not tried", HEADING, GREY), *unseen], width))
    return to_tensor(_stacked(bands, width))[0]


def _head(report: Report, photo: Tensor, width: int) -> Image.Image:
    """What was asked of which machine, and the photo with the face that was found in it."""
    shown = [("the photo", photo[0]), *(("its face", drawing.face) for _, drawing in report.drawn[:1])]
    lines = [
        Line("ComfyUI-FaceGen: verify", TITLE),
        Line(" · ".join(f"{name} {value}" for name, value in report.machine.items()), SMALL, GREY),
        Line(f"The photo: {report.photo}. Asked for: {report.settings}."),
        Line(
            "Under each picture: its likeness to the photo by the method's recogniser, then the score of the portrait check "
            "(0 to 1) and the marks that it misses.",
            SMALL,
            GREY,
        ),
    ]
    side = CELL * 3 // 4
    left = width - MARGIN - len(shown) * (side + GAP)
    text = _band(lines, left)
    head = Image.new("RGB", (width, max(text.height + MARGIN, side + 2 * MARGIN + TEXT)), GROUND)
    head.paste(text, (0, MARGIN - GAP))
    for number, (name, picture) in enumerate(shown):
        x = left + number * (side + GAP)
        head.paste(_cell(picture, side), (x, MARGIN))
        _write(ImageDraw.Draw(head), [Line(name, SMALL, GREY)], x, MARGIN + side + 4, side)
    return head


def _of_way(outcome: Outcome, drawing: Drawing, width: int) -> list[Image.Image]:
    measured = f"Likeness {spread(drawing.styles)}, without the face {spread(drawing.plain)}; {costs(drawing)}."
    made = f"{outcome.made_with} · {drawing.precision} · recogniser {drawing.recogniser}"
    heading = _band([Line(outcome.way.words, HEADING), Line(measured), Line(made, SMALL, GREY)], width, BAND)
    bands = [
        heading,
        _row("with the face", [(one.asked.style, one) for one in drawing.styles], width),
        _row("same words and noise without it", [(one.asked.style, one) for one in drawing.plain], width),
    ]
    if drawing.s_scales:
        scales = [(f"s_scale {one.asked.s_scale:g}", one) for one in drawing.s_scales]
        bands.append(_row(f"with the face, {drawing.s_scales[0].asked.style}", scales, width))
    return bands


def _row(name: str, pictures: Sequence[tuple[str, Picture]], width: int) -> Image.Image:
    row = Image.new("RGB", (width, CELL + 3 * TEXT + 2 * GAP), GROUND)
    draw = ImageDraw.Draw(row)
    _write(draw, [Line(name)], MARGIN, GAP + CELL // 2 - TEXT, SIDE - GAP)
    for number, (label, one) in enumerate(pictures):
        x = MARGIN + SIDE + number * (CELL + GAP)
        row.paste(_cell(one.image, CELL), (x, GAP))
        missed = failing(one)
        check = "" if one.quality is None or one.flagged else f"check {one.quality.score:.2f}"
        marks = Line(": ".join(filter(None, (check, ", ".join(missed)))), SMALL, WARM if missed else GREY)
        _write(draw, [Line(f"{label}: {alike(one)}"), marks], x, GAP + CELL + 4, CELL)
    return row


def _cell(picture: Tensor, side: int) -> Image.Image:
    return ImageOps.pad(to_image(picture), (side, side), color=FRAME)


def _band(lines: Sequence[Line], width: int, ground: Colour = GROUND) -> Image.Image:
    """Lines across a sheet, broken where they are too long."""
    room = width - 2 * MARGIN
    empty = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    height = _write(empty, lines, 0, 0, room)
    band = Image.new("RGB", (width, height + 2 * GAP), ground)
    _write(ImageDraw.Draw(band), lines, MARGIN, GAP, room)
    return band


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[Line], x: int, y: int, room: int) -> int:
    """Downwards from there; gives where it ended."""
    for line in lines:
        font = ImageFont.load_default(size=line.size)
        for part in _broken(line.text, font, room):
            draw.text((x, y), part, fill=line.colour, font=font)
            y += line.size * 4 // 3
        y += 2
    return y


def _broken(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> list[str]:
    """Between words, into parts that fit; a word that doesn't is cut off."""
    parts: list[str] = []
    for word in text.split():
        longer = f"{parts[-1]} {word}" if parts else word
        if parts and font.getlength(longer) <= room:
            parts[-1] = longer
            continue
        while len(word) > 1 and font.getlength(word) > room:
            word = word.removesuffix("…")[:-1] + "…"
        parts.append(word)
    return parts


def _stacked(bands: Sequence[Image.Image], width: int) -> Image.Image:
    sheet = Image.new("RGB", (width, sum(band.height for band in bands) + MARGIN), GROUND)
    y = 0
    for band in bands:
        sheet.paste(band, (0, y))
        y += band.height
    return sheet
