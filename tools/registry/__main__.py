#!/usr/bin/env python3
"""Draw the pack's icon and banner for the registry: docs/registry/icon.png and banner.png.

    .venv/bin/python tools/registry [FOLDER]

One person, drawn by the renderer of the tiny model's people: on the icon half as a photo and half as a comic, on the banner as
a photo and in every style. All of it is vector shapes, letters too, so that the pictures are the same on every machine.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skia

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "registry"
ICON = (400, 400)  # the registry's largest
BANNER = (1680, 720)  # 21:9
PERSON = (30_000, 58)  # seed and number
NIGHT, DUSK, WHITE, ACCENT = 0xFF171A33, 0xFF4B2F73, 0xFFFFFFFF, 0xFF5CE1E6
# A letter is strokes in a box of height 1 (capitals), with the baseline at 0 and y upwards: points to join, or an arc as
# (centre x, centre y, radius x, radius y, from degrees, by degrees), counter-clockwise from the right.
X = 0.68  # height of small letters
LETTERS: dict[str, tuple[float, list[list[tuple[float, float]] | tuple[float, ...]]]] = {
    "F": (0.52, [[(0.0, 0.0), (0.0, 1.0), (0.52, 1.0)], [(0.0, 0.53), (0.44, 0.53)]]),
    "G": (0.9, [(0.45, 0.5, 0.45, 0.5, 48, 312), [(0.9, 0.5), (0.5, 0.5)]]),
    "a": (0.62, [(0.31, X / 2, 0.31, X / 2, 0, 360), [(0.62, X), (0.62, 0.0)]]),
    "c": (0.52, [(0.31, X / 2, 0.31, X / 2, 50, 260)]),
    "e": (0.62, [(0.31, X / 2, 0.31, X / 2, 0, 310), [(0.62, X / 2), (0.0, X / 2)]]),
    "n": (0.54, [[(0.0, 0.0), (0.0, X)], (0.27, X - 0.27, 0.27, 0.27, 0, 180), [(0.54, X - 0.27), (0.54, 0.0)]]),
}
GAP = 0.3  # between letters


def portrait(style: str, size: int) -> tuple[skia.Image, np.ndarray]:
    """The person in a style, [size, size], and the five points of the face in pixels."""
    from facegen.tools.tiny_model.drawings.drawing import draw
    from facegen.tools.tiny_model.drawings.person import BACKGROUNDS, Person, View

    person = Person.random(np.random.default_rng(PERSON))
    background = {"anime": "teal", "3d": "blue", "chibi": "purple", "comic": "yellow"}.get(style, "grey")
    pixels, points = draw(person, View(background_rgb=BACKGROUNDS[background], smile=0.6), style, size)
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    return skia.Image.fromarray(np.ascontiguousarray(opaque), colorType=skia.kRGBA_8888_ColorType), points


def tile(canvas: skia.Canvas, image: skia.Image, x: float, y: float, side: float, radius: float) -> None:
    """A picture with round corners."""
    canvas.save()
    canvas.clipRRect(skia.RRect.MakeRectXY(skia.Rect.MakeXYWH(x, y, side, side), radius, radius), doAntiAlias=True)
    canvas.drawImageRect(image, skia.Rect.MakeXYWH(x, y, side, side), skia.SamplingOptions(skia.CubicResampler.Mitchell()))
    canvas.restore()


def stroke(width: float, colour: int) -> skia.Paint:
    paint = skia.Paint(AntiAlias=True, Color=colour, Style=skia.Paint.kStroke_Style, StrokeWidth=width)
    paint.setStrokeCap(skia.Paint.kRound_Cap)
    paint.setStrokeJoin(skia.Paint.kRound_Join)
    return paint


def brackets(canvas: skia.Canvas, box: skia.Rect, arm: float, width: float, colour: int) -> None:
    """The corners of a box, as a detector shows a face."""
    for x, across in ((box.left(), 1), (box.right(), -1)):
        for y, down in ((box.top(), 1), (box.bottom(), -1)):
            path = skia.Path()
            path.moveTo(x + across * arm, y)
            path.lineTo(x, y)
            path.lineTo(x, y + down * arm)
            canvas.drawPath(path, stroke(width, colour))


def write(canvas: skia.Canvas, text: str, x: float, baseline: float, height: float, paint: skia.Paint) -> float:
    """Letters of strokes; returns where the next one would begin."""
    for letter in text:
        width, strokes = LETTERS[letter]
        for line in strokes:
            path = skia.Path()
            if isinstance(line, list):
                path.addPoly([skia.Point(x + px * height, baseline - py * height) for px, py in line], False)
            else:
                cx, cy, rx, ry, start, by = line
                oval = skia.Rect.MakeLTRB(
                    x + (cx - rx) * height, baseline - (cy + ry) * height, x + (cx + rx) * height, baseline - (cy - ry) * height
                )
                path.addArc(oval, -start, -by)
            canvas.drawPath(path, paint)
        x += (width + GAP) * height
    return x


def backdrop(canvas: skia.Canvas, width: float, height: float) -> None:
    ends = [skia.Point(0, 0), skia.Point(width, height)]
    canvas.drawPaint(skia.Paint(Shader=skia.GradientShader.MakeLinear(ends, [NIGHT, DUSK])))


def draw_icon(canvas: skia.Canvas) -> None:
    side = ICON[0]
    photo, points = portrait("realistic", 2 * side)
    tile(canvas, photo, 0, 0, side, 0)
    half = skia.Path()
    half.addPoly([skia.Point(0.58 * side, 0), skia.Point(side, 0), skia.Point(side, side), skia.Point(0.42 * side, side)], True)
    canvas.save()
    canvas.clipPath(half, doAntiAlias=True)
    tile(canvas, portrait("comic", 2 * side)[0], 0, 0, side, 0)
    canvas.restore()
    canvas.drawLine(0.58 * side, -9, 0.42 * side, side + 9, stroke(9, WHITE))
    middle = points.mean(0) / 2
    reach = 0.36 * side
    box = skia.Rect.MakeLTRB(middle[0] - reach, middle[1] - 1.12 * reach, middle[0] + reach, middle[1] + 0.98 * reach)
    brackets(canvas, box, 46, 15, NIGHT)
    brackets(canvas, box, 46, 9, ACCENT)


def draw_banner(canvas: skia.Canvas) -> None:
    from facegen.contract import STYLES

    width, height = 2100, 900  # in these units
    canvas.scale(BANNER[0] / width, BANNER[1] / height)
    backdrop(canvas, width, height)
    photo, points = portrait("realistic", 1120)
    side, left, top = 560.0, 110.0, 170.0
    tile(canvas, photo, left, top, side, 40)
    middle = points.mean(0) / 2 + (left, top)
    reach = 0.34 * side
    box = skia.Rect.MakeLTRB(middle[0] - reach, middle[1] - 1.12 * reach, middle[0] + reach, middle[1] + 0.98 * reach)
    brackets(canvas, box, 62, 12, ACCENT)
    write(canvas, "FaceGen", 806, 376, 190, stroke(31, WHITE))
    small, gap, x, y = 216.0, 24.0, 790.0, 514.0
    for number, style in enumerate(STYLES):
        tile(canvas, portrait(style, 432)[0], x + number * (small + gap), y, small, 28)


def save(size: tuple[int, int], draw: Callable[[skia.Canvas], None], path: Path) -> None:
    surface = skia.Surface(*size)
    with surface as canvas:
        draw(canvas)
    surface.makeImageSnapshot().save(str(path), skia.kPNG)


def main() -> int:
    runpy.run_path(str(ROOT / "__main__.py"))["load_pack"]()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    save(ICON, draw_icon, folder / "icon.png")
    save(BANNER, draw_banner, folder / "banner.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
