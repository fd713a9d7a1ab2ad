"""Eyes and brows: what tells people apart first."""

from __future__ import annotations

import skia

from .canvas import BLACK, WHITE, Canvas, argb, dim, mix, oval, ribbon, saturate
from .geometry import Head
from .palettes import EYE_COLOURS

ROUND = {"realistic": 0.05, "anime": 0.62, "3d": 0.75, "chibi": 1.0, "comic": 0.1}
IRIS_TALL = {"realistic": 1.12, "anime": 0.92, "3d": 0.74, "chibi": 0.86, "comic": 0.92}
IRIS_WIDE = {"realistic": 1.0, "anime": 0.80, "3d": 1.0, "chibi": 0.84, "comic": 1.0}
PUPIL = {"realistic": 0.42, "anime": 0.40, "3d": 0.50, "chibi": 0.46, "comic": 0.46}
SPOT = {"realistic": 0.20, "anime": 0.36, "3d": 0.27, "chibi": 0.36, "comic": 0.26}
LID = {"realistic": 1.5, "anime": 2.3, "3d": 1.7, "chibi": 2.8, "comic": 2.6}


class _Eye:
    """One eye's outline about (0, 0), its outer corner (x > 0) lifted by `slant` units."""

    def __init__(self, rx: float, ry: float, slant: float, roundness: float) -> None:
        k = 0.45 * rx + 0.58 * rx * roundness
        up, down = ry * 1.32, ry * (1.16 + 0.16 * roundness)
        self.lid = skia.Path()
        self.lid.moveTo(-rx, slant * 0.5)
        self.lid.cubicTo(-k, -up + slant * 0.3, k, -up - slant, rx, -slant)
        self.outline = skia.Path(self.lid)
        self.outline.cubicTo(k, down - slant, -k, down + slant * 0.3, -rx, slant * 0.5)
        self.outline.close()
        self.lower = skia.Path()
        self.lower.moveTo(rx, -slant)
        self.lower.cubicTo(k, down - slant, -k, down + slant * 0.3, -rx, slant * 0.5)


def eyes(canvas: Canvas, head: Head) -> list[tuple[float, float]]:
    """Draws both eyes and returns their centres, the image-left one first."""
    centres = []
    for side in (-1.0, 1.0):
        x, y = head.at(side * head.eye_u, head.p.eye_y)
        rx, full = head.eye_half
        canvas.skia_canvas.save()
        canvas.skia_canvas.translate(x, y)
        canvas.skia_canvas.scale(side, 1.0)
        _eye(canvas, head, rx * head.squeeze(side * head.eye_u), full * (0.30 + 0.70 * head.view.eyelids), side)
        canvas.skia_canvas.restore()
        centres.append((x, y))
    return centres


def _eye(canvas: Canvas, head: Head, rx: float, ry: float, side: float) -> None:
    """One eye about (0, 0), drawn with its outer corner at +x; `side` is -1 for the mirrored image-left one."""
    style = canvas.style
    slant = {"realistic": 1.9, "comic": 2.4, "chibi": 1.6}.get(style, 2.8) * head.person.eye_slant
    eye = _Eye(rx, ry, slant, min(1.0, max(0.0, ROUND[style] + 0.14 * head.person.eye_shape)))
    _socket(canvas, head, eye, rx, ry)
    canvas.flat(eye.outline, (0.95, 0.94, 0.94) if style == "realistic" else (0.985, 0.985, 0.99))
    with canvas.clipped(eye.outline):
        if style == "realistic":
            canvas.glow(rx, 0, 0.6 * rx, 1.4 * ry, (0.62, 0.42, 0.40), 0.55)
            canvas.glow(-rx, 0, 0.6 * rx, 1.4 * ry, (0.70, 0.40, 0.38), 0.55)
        _iris(canvas, head, rx, side)
        if style != "chibi":
            canvas.stroke(eye.lid, (0.16, 0.10, 0.18), 0.42 * head.eye_half[1] + 1.0, 0.34, 0.5 if canvas.soft else 0.0)
    _lids(canvas, head, eye, rx, ry, slant)


def _socket(canvas: Canvas, head: Head, eye: _Eye, rx: float, ry: float) -> None:
    """The hollow about the eye and the fold above it."""
    skin = canvas.tint(head.person.skin_rgb)
    if canvas.soft:
        deep = dim(skin, 0.75)
        canvas.glow(0.0, -1.5, 1.5 * rx, 2.0 * ry + 3.5, deep, 0.42 if canvas.style == "realistic" else 0.28)
        canvas.glow(-1.05 * rx, -2.0, 0.7 * rx, 1.4 * ry + 2.0, deep, 0.34)
    if canvas.style == "chibi":
        return
    fold = skia.Path(eye.lid)
    gap = {"realistic": 2.4, "anime": 3.2, "3d": 3.0, "comic": 2.8}[canvas.style]
    fold.offset(0.3, -gap)
    colour = dim(skin, 0.62) if canvas.style != "comic" else BLACK
    canvas.stroke(fold, colour, 0.9 if canvas.style != "comic" else 1.2, 0.75)
    if head.person.age > 0.35 and canvas.style != "anime":
        bag = skia.Path(eye.lower)
        bag.offset(-0.5, 2.6)
        canvas.stroke(bag, colour, 1.1, 0.55 * head.person.age, 0.5 if canvas.soft else 0.0)


def _lids(canvas: Canvas, head: Head, eye: _Eye, rx: float, ry: float, slant: float) -> None:
    """The upper lid's dark edge with its lashes, and the lower lid's."""
    style, woman = canvas.style, head.person.gender == "woman"
    dark = BLACK if style in ("anime", "comic") else (0.13, 0.06, 0.06)
    width = LID[style] + (0.55 if woman else 0.0)
    canvas.stroke(eye.lid, dark, width)
    if woman or style == "anime":
        reach = 3.4 if woman else 2.0
        points = [(rx - 2.4, -slant - 0.9), (rx + 1.0, -slant - 1.2), (rx + reach, -slant - 0.9 * reach)]
        canvas.flat(ribbon(points, 1.25 * width, 0.3), dark)
        if woman and style in ("3d", "chibi", "anime"):
            upper = [(rx - 4.0, -slant - 2.4), (rx - 1.2, -slant - 3.6), (rx + 0.6 * reach, -slant - 1.6 * reach)]
            canvas.flat(ribbon(upper, width, 0.3), dark)
    lower = {"realistic": 0.8, "anime": 0.9, "3d": 0.9, "chibi": 0.0, "comic": 1.5}[style]
    if lower:
        canvas.stroke(eye.lower, dark, lower, 0.45 if style in ("realistic", "3d") else 0.8)
    if style == "realistic":
        canvas.glow(0.0, 1.25 * ry + 0.6, 0.8 * rx, 1.2, WHITE, 0.16)


def _iris(canvas: Canvas, head: Head, rx: float, side: float) -> None:
    """Iris, pupil and highlights, looking where the head turns."""
    style, view = canvas.style, head.view
    colour = saturate(EYE_COLOURS[head.person.eye_colour], 1.15)
    tall = IRIS_TALL[style] * max(head.eye_half[1], 3.6)
    wide = min(IRIS_WIDE[style] * tall, 0.72 * rx)
    x, y = (1.5 * view.yaw - 0.2 * side) * side, 0.2 + 0.7 * view.pitch
    dark, bright = mix(colour, BLACK, 0.62), mix(colour, WHITE, 0.34)
    canvas.flat(oval(x, y, wide, tall), mix(colour, BLACK, 0.75))
    inner = oval(x, y, wide - 0.8, tall - 0.8)
    if style == "comic":
        canvas.flat(inner, colour)
    elif style in ("anime", "chibi"):
        canvas.fade(inner, (x, y - tall), (x, y + tall), [argb(dark), argb(colour), argb(mix(colour, WHITE, 0.55))])
    else:
        canvas.fade(inner, (x, y - tall), (x, y + tall), [argb(mix(colour, BLACK, 0.35)), argb(colour), argb(bright)])
    pupil = PUPIL[style]
    canvas.flat(oval(x, y, pupil * wide, pupil * tall), (0.02, 0.02, 0.03))
    spot, lit = SPOT[style] * wide, canvas.side * side
    canvas.flat(oval(x + 0.36 * wide * lit, y - 0.40 * tall, spot, spot * 1.15), WHITE)
    if style in ("anime", "chibi", "3d"):
        canvas.flat(oval(x - 0.36 * wide * lit, y + 0.42 * tall, 0.46 * spot, 0.46 * spot), WHITE, 0.9)


def brows(canvas: Canvas, head: Head) -> None:
    """Both brows, in the hair's colour a little darker, their inner ends low or high by the person's angle."""
    person, style = head.person, canvas.style
    colour = mix(canvas.tint(person.hair_rgb), BLACK, 0.35)
    thick = 3.5 + 1.9 * person.brow_thickness + (0.4 if person.gender == "man" else -0.5)
    thick = max(1.5, thick * {"realistic": 1.0, "anime": 0.62, "3d": 1.15, "chibi": 0.8, "comic": 1.1}[style])
    wide, y = head.eye_half[0] * (0.86 if style == "chibi" else 1.08), head.brow_y
    edge = BLACK if style == "comic" else canvas.ink(person.skin_rgb)
    for side in (-1.0, 1.0):
        inner = head.at(side * (head.eye_u - 0.95 * wide), y + 2.3 + 1.8 * person.brow_angle, 2.0)
        middle = head.at(side * (head.eye_u + 0.25 * wide), y - 3.2 - 1.7 * person.brow_arch, 2.0)
        outer = head.at(side * (head.eye_u + 1.08 * wide), y + 2.2 - 1.7 * person.brow_angle + 0.8 * person.brow_arch, 0.0)
        path = ribbon([inner, middle, outer], thick, 0.5)
        if style == "comic" or (not canvas.soft and _light(person.hair_rgb, person.skin_rgb)):
            canvas.stroke(path, edge, 1.6 if style == "comic" else 0.9)
        elif canvas.soft and _light(person.hair_rgb, person.skin_rgb):
            canvas.flat(path, dim(canvas.tint(person.skin_rgb), 0.8), 0.8, 1.0)
        if style == "realistic":
            canvas.flat(path, colour, 0.85, 0.5)
            canvas.stroke(path, colour, 0.4, 0.5)
        else:
            canvas.flat(path, colour)
            canvas.stroke(path, colour, 0.32 * thick)


def _light(hair: tuple[float, float, float], skin: tuple[float, float, float]) -> bool:
    """Whether a brow of the hair's colour would vanish on the skin."""
    return sum(abs(a * 0.65 - b) for a, b in zip(hair, skin, strict=True)) < 0.55
