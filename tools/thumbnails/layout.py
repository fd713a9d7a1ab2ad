"""How a thumbnail looks: title, subtitle, framed pictures, boxes, arrows and a footer on a dark ground."""

from __future__ import annotations

import io
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 800, 500
TOP, BOTTOM = 134, 462  # of what is between subtitle and footer
MIDDLE = (TOP + BOTTOM) // 2
MARGIN, LEFT = 24, 40  # LEFT: where title and subtitle begin
BESIDE_PHOTO = 560  # pixels of a title beside which row() puts the photo
QUALITY, MOST_BYTES = 88, 70_000
GROUND, WHITE, DIM, LINE = (32, 33, 38), (250, 250, 250), (150, 152, 158), (120, 122, 130)
PURPLE, BLUE, GREEN, RED, ORANGE, GREY = (
    (158, 80, 178),
    (62, 120, 168),
    (104, 168, 104),
    (216, 118, 136),
    (204, 116, 54),
    (130, 132, 142),
)
FILLS = {GREEN: (54, 78, 54), RED: (110, 58, 70), BLUE: (32, 58, 80), PURPLE: (70, 40, 80)}
BEHIND = (52, 54, 62)  # what is behind a silhouette


def silhouette(colour: tuple, size: int = 512) -> Image.Image:
    """Somebody, where there is no picture."""
    picture = Image.new("RGB", (size, size), BEHIND)
    draw = ImageDraw.Draw(picture)
    draw.ellipse([size * part for part in (0.34, 0.24, 0.66, 0.62)], colour)
    draw.ellipse([size * part for part in (0.20, 0.66, 0.80, 1.30)], colour)
    return picture


class Thumbnail:
    def __init__(self, title: str, subtitle: str, footer: str, room: int = WIDTH - 2 * LEFT):
        """`room`: pixels that the title may take; a long one gets smaller letters."""
        self.image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
        self.draw = ImageDraw.Draw(self.image)
        self.draw.rectangle((0, 0, WIDTH, 6), PURPLE)
        size = next(size for size in range(46, 1, -1) if ImageFont.load_default(size).getlength(title) <= room)
        self._text((LEFT, 81), title, size, WHITE, "ls")
        self._text((LEFT, 92), subtitle, 26, DIM, "la")
        self._text((WIDTH - MARGIN, HEIGHT - 12), footer, 17, DIM, "rs")

    def _text(self, at: tuple, text: str, size: int, colour: tuple, anchor: str) -> None:
        self.draw.text(at, text, colour, ImageFont.load_default(size), anchor)

    def picture(self, picture: Image.Image, box: tuple, colour: tuple = PURPLE) -> tuple:
        """Fills the box (left, top, width, height), in a frame around it; returns the box."""
        left, top, width, height = map(round, box)
        self.draw.rounded_rectangle((left - 4, top - 4, left + width + 3, top + height + 3), 5, colour)
        self.image.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        return left, top, width, height

    def box(self, text: str, box: tuple, colour: tuple = GREEN) -> tuple:
        """A rounded box with lines of text, around the middle of `box`'s place."""
        left, top, width, height = map(round, box)
        self.draw.rounded_rectangle((left, top, left + width, top + height), 12, FILLS[colour], colour, 4)
        middle = left + width // 2, top + height // 2
        font = ImageFont.load_default(23)
        self.draw.multiline_text(middle, text, WHITE, font, "mm", spacing=8, align="center")
        return left, top, width, height

    def label(self, x: float, y: float, text: str) -> None:
        self._text((x, y), text, 22, WHITE, "mm")

    def arrow(self, start: tuple, end: tuple) -> None:
        """A white line that ends in a triangle."""
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        corners = [(end[0] - 18 * math.cos(angle + turn), end[1] - 18 * math.sin(angle + turn)) for turn in (-0.5, 0.5)]
        neck = tuple(sum(side) / 2 for side in zip(*corners, strict=True))
        self.draw.line([start, neck], WHITE, 4)
        self.draw.polygon([end, *corners], WHITE)

    def between(self, one: tuple, other: tuple) -> None:
        """An arrow from the right side of a box to the left side of another."""
        start = one[0] + one[2] + 9, one[1] + one[3] / 2
        end = other[0] - 9, other[1] + other[3] / 2
        self.arrow(start, end)

    def row(self, photo: Image.Image, pictures: list, labels: list, colours: list) -> None:
        """The photo on top, beside the title, and below it what became of it, side by side and labelled."""
        gap, above = 16, 148
        side = min(170, (WIDTH - 2 * MARGIN - gap * (len(pictures) - 1)) // len(pictures))
        top = BOTTOM - 28 - side
        photo = self.picture(photo, (WIDTH - MARGIN - above, 32, above, above), BLUE)
        below = photo[0] + above / 2, photo[1] + above + 6
        left = (WIDTH - side * len(pictures) - gap * (len(pictures) - 1)) / 2
        for picture, label, colour in zip(pictures, labels, colours, strict=True):
            self.draw.line([below, (left + side / 2, top - 5)], LINE, 2)
            self.picture(picture, (left, top, side, side), colour)
            self.label(left + side / 2, BOTTOM - 10, label)
            left += side + gap

    def grid(self, pictures: list, box: tuple, columns: int, colours: list | tuple = (PURPLE,)) -> tuple:
        """Square pictures in rows that fill the box's width, around its middle; returns the box that they take."""
        left, top, width, height = box
        gap = 12
        side = (width - gap * (columns - 1)) / columns
        rows = -(-len(pictures) // columns)
        tall = rows * side + (rows - 1) * gap
        top += (height - tall) / 2
        for number, picture in enumerate(pictures):
            row, column = divmod(number, columns)
            place = (left + column * (side + gap), top + row * (side + gap), side, side)
            self.picture(picture, place, colours[number % len(colours)])
        return left, top, width, tall

    def save(self, path: Path) -> None:
        """As JPEG, in fewer bytes than the template browser should have to load."""
        for quality in range(QUALITY, 40, -4):
            file = io.BytesIO()
            self.image.save(file, "JPEG", quality=quality, optimize=True)
            if file.tell() < MOST_BYTES:
                break
        path.write_bytes(file.getvalue())


def centred(left: float, side: float, height: float | None = None) -> tuple:
    """A box at `left`, of that width and height, halfway down."""
    height = side if height is None else height
    return left, MIDDLE - height / 2, side, height
