"""The face's parts: eyes, brows, nose, mouth, ears, beard, glasses and the skin's marks, each bold enough for 8-pixel cells."""

from __future__ import annotations

import math

import skia

from .canvas import BLACK, WHITE, Canvas, mix, oval, saturate
from .geometry import Head, face_path
from .person import EYE_COLOURS, FRAME_COLOURS, LIP_COLOURS

EYE_ROUND = {"realistic": 0.0, "anime": 0.5, "3d": 0.7, "chibi": 1.0, "comic": 0.1}


def _almond(rx: float, ry: float, slant: float, roundness: float) -> skia.Path:
    """An eye's outline about (0, 0), its outer corner (x > 0) lifted by `slant` pixels."""
    k = 0.45 + 0.2 * roundness
    up, down = ry * (1.32 - 0.02 * roundness), ry * (1.22 + 0.1 * roundness)
    path = skia.Path()
    path.moveTo(-rx, slant * 0.5)
    path.cubicTo(-rx * k - rx * 0.4 * roundness, -up + slant * 0.3, rx * k + rx * 0.4 * roundness, -up - slant, rx, -slant)
    path.cubicTo(
        rx * k + rx * 0.4 * roundness, down - slant, -rx * k - rx * 0.4 * roundness, down + slant * 0.3, -rx, slant * 0.5
    )
    path.close()
    return path


def _lid(rx: float, ry: float, slant: float, roundness: float) -> skia.Path:
    """The upper edge of that outline, open."""
    k, up = 0.45 + 0.2 * roundness, ry * (1.32 - 0.02 * roundness)
    path = skia.Path()
    path.moveTo(-rx, slant * 0.5)
    path.cubicTo(-rx * k - rx * 0.4 * roundness, -up + slant * 0.3, rx * k + rx * 0.4 * roundness, -up - slant, rx, -slant)
    return path


def eyes(canvas: Canvas, head: Head) -> list[tuple[float, float]]:
    """Draws both eyes and returns their centres, the image-left one first."""
    centres = []
    for side in (-1.0, 1.0):
        x, y = head.at(side * head.eye_u, head.p.eye_y)
        scale = 1.0 + 0.15 * head.person.eye_size
        rx = max(8.8, 0.5 * head.p.eye_w * scale * head.squeeze(side * head.eye_u))
        ry = 0.5 * max(10.5, head.p.eye_h * (1.0 + 0.2 * head.person.eye_size)) * (0.42 + 0.58 * head.view.eyelids)
        canvas.skia_canvas.save()
        canvas.skia_canvas.translate(x, y)
        canvas.skia_canvas.scale(side, 1.0)
        _eye(canvas, head, rx, ry, side)
        canvas.skia_canvas.restore()
        centres.append((x, y))
    return centres


def _eye(canvas: Canvas, head: Head, rx: float, ry: float, side: float) -> None:
    """One eye about (0, 0), drawn with its outer corner at +x; `side` is -1 for the mirrored image-left one."""
    style, skia_canvas = canvas.style, canvas.skia_canvas
    roundness, slant = EYE_ROUND[style], 2.8 * head.person.eye_slant
    outline, lid = _almond(rx, ry, slant, roundness), _lid(rx, ry, slant, roundness)
    if style in ("realistic", "3d"):
        socket = mix(canvas.tint(head.person.skin_rgb), (0.2, 0.05, 0.05), 0.45)
        canvas.flat(oval(0.0, -1.0, rx + 2.0, ry + 3.0), socket, 0.5, 2.5)
    canvas.flat(outline, (0.97, 0.97, 0.98))
    skia_canvas.save()
    skia_canvas.clipPath(outline, skia.ClipOp.kIntersect, True)
    _iris(canvas, head, rx, ry, side)
    if style != "chibi":
        canvas.stroke(lid, (0.2, 0.15, 0.25), 5.0, 0.28)
    skia_canvas.restore()
    dark = BLACK if style in ("anime", "comic") else (0.10, 0.05, 0.05)
    width = {"realistic": 2.6, "anime": 3.6, "3d": 2.6, "chibi": 3.6, "comic": 3.8}[style]
    woman = head.person.gender == "woman"
    canvas.stroke(lid, dark, width + (0.9 if woman else 0.0))
    if woman:
        lash = skia.Path()
        lash.moveTo(rx - 1.5, -slant - 1.0)
        lash.quadTo(rx + 2, -slant - 2, rx + 3.5, -slant - 4.5)
        canvas.stroke(lash, dark, 2.6)
    canvas.stroke(outline, dark, 1.0, 0.55 if style != "comic" else 1.0)


def _iris(canvas: Canvas, head: Head, rx: float, ry: float, side: float) -> None:
    """Iris, pupil and highlights, looking where the head turns."""
    style, view = canvas.style, head.view
    colour = saturate(EYE_COLOURS[head.person.eye_colour], 1.15)
    full = 0.5 * head.p.eye_h * (1.0 + 0.2 * head.person.eye_size)
    tall = {"realistic": 0.98, "anime": 0.95, "3d": 0.80, "chibi": 0.86, "comic": 0.86}[style] * max(full, 5.5)
    wide = {"realistic": 1.0, "anime": 0.80, "3d": 1.0, "chibi": 0.86, "comic": 1.0}[style] * tall
    wide = min(wide, 0.72 * rx)
    x, y = (1.6 * view.yaw - 0.3 * side) * side, 0.3 + 0.8 * view.pitch
    canvas.flat(oval(x, y, wide + 0.6, tall + 0.6), mix(colour, BLACK, 0.65))
    canvas.flat(oval(x, y, wide - 0.7, tall - 0.7), colour)
    if style in ("anime", "chibi"):
        canvas.flat(oval(x, y - 0.55 * tall, wide, 0.62 * tall), mix(colour, BLACK, 0.6), 0.7)
        canvas.flat(oval(x, y + 0.55 * tall, 0.55 * wide, 0.32 * tall), mix(colour, WHITE, 0.5), 0.8)
    elif style != "comic":
        canvas.flat(oval(x, y + 0.45 * tall, 0.6 * wide, 0.4 * tall), mix(colour, WHITE, 0.4), 0.6, 1.0)
    pupil = {"realistic": 0.44, "anime": 0.42, "3d": 0.5, "chibi": 0.48, "comic": 0.46}[style]
    canvas.flat(oval(x, y, max(2.2, pupil * wide), max(2.2, pupil * tall)), (0.02, 0.02, 0.03))
    spot = {"realistic": 0.24, "anime": 0.40, "3d": 0.32, "chibi": 0.38, "comic": 0.26}[style] * wide
    lit = canvas.side * side
    canvas.flat(oval(x + 0.36 * wide * lit, y - 0.4 * tall, spot, spot * 1.1), WHITE)
    if style in ("anime", "chibi"):
        canvas.flat(oval(x - 0.36 * wide * lit, y + 0.42 * tall, 0.5 * spot, 0.5 * spot), WHITE)


def brows(canvas: Canvas, head: Head) -> None:
    """Both brows, in the hair's colour a little darker, their inner ends low or high by the person's angle."""
    person = head.person
    colour = mix(canvas.tint(person.hair_rgb), BLACK, 0.30)
    thick = 4.4 + 1.9 * person.brow_thickness + (0.5 if person.gender == "man" else -0.5)
    thick *= {"realistic": 1.0, "anime": 0.8, "3d": 1.15, "chibi": 0.85, "comic": 1.1}[canvas.style]
    gap = 0.5 * head.p.eye_h * (1.0 + 0.2 * person.eye_size) + 6.5
    for side in (-1.0, 1.0):
        inner = head.at(side * (head.eye_u - 0.44 * head.p.eye_w), head.p.eye_y - gap + 3.2 * person.brow_angle, 2.0)
        middle = head.at(side * (head.eye_u + 1.0), head.p.eye_y - gap - 4.5, 2.0)
        outer = head.at(side * (head.eye_u + 0.46 * head.p.eye_w), head.p.eye_y - gap + 1.5 - 3.2 * person.brow_angle, 0.0)
        path = skia.Path()
        path.moveTo(*inner)
        path.quadTo(*middle, *outer)
        if canvas.style == "comic" or _light(person.hair_rgb, person.skin_rgb):
            canvas.stroke(path, BLACK if canvas.style == "comic" else canvas.ink(person.skin_rgb), max(3.0, thick) + 2.0)
        canvas.stroke(path, colour, max(2.8, thick), 1.0, 0.7 if canvas.style == "realistic" else 0.0)


def _light(hair: tuple[float, float, float], skin: tuple[float, float, float]) -> bool:
    """Whether a brow of the hair's colour would vanish on the skin."""
    return sum(abs(a * 0.7 - b) for a, b in zip(hair, skin, strict=True)) < 0.55


def nose(canvas: Canvas, head: Head) -> None:
    """The nose: shaded when realistic or 3d, a line or a tick in the drawn styles."""
    person, style = head.person, canvas.style
    x, y = head.nose
    half = 6.8 * (1.0 + 0.33 * person.nose_width)
    top = head.at(0.0, head.p.eye_y + 2.0, 4.0)
    skin = canvas.tint(person.skin_rgb)
    shade = mix(skin, (0.25, 0.03, 0.05), 0.5)
    away = -canvas.side
    if style in ("realistic", "3d"):
        ridge = skia.Path()
        ridge.moveTo(top[0] + away * 4.0, top[1] - 6)
        ridge.quadTo(top[0] + away * 3.0, 0.5 * (top[1] + y), x + away * half * 0.9, y - 1)
        canvas.stroke(ridge, shade, 4.0, 0.45, 1.6)
        canvas.flat(oval(x, y + 2.6, half + 1.0, 3.4), shade, 0.75, 1.3)
        canvas.flat(oval(x, y - 1.2, half * (0.8 if style == "realistic" else 1.05), 4.6), mix(skin, WHITE, 0.10), 0.9, 1.3)
        for side in (-1.0, 1.0):
            canvas.flat(oval(x + side * half * 0.55, y + 3.0, 2.0, 1.4), mix(shade, BLACK, 0.5), 0.85, 0.5)
        canvas.gloss(x + canvas.side * 1.5, y - 2.5, 2.6, 3.0, 0.85)
    elif style in ("anime", "chibi"):
        tick = skia.Path()
        tick.moveTo(x + away * 0.5, y - 4.0 - 1.5 * person.nose_length)
        tick.lineTo(x + away * (2.0 + 0.25 * half), y + 1.0)
        tick.lineTo(x - away * 0.12 * half, y + 1.6)
        canvas.stroke(tick, mix(canvas.ink(person.skin_rgb), shade, 0.4), 2.4)
    else:
        line = skia.Path()
        line.moveTo(top[0] + away * 2.5, top[1] + 5)
        line.lineTo(x + away * half, y)
        line.quadTo(x + away * half, y + 4, x, y + 4)
        line.lineTo(x - away * half * 0.8, y + 2.5)
        canvas.stroke(line, BLACK, 3.0)


def mouth(canvas: Canvas, head: Head) -> tuple[tuple[float, float], tuple[float, float]]:
    """Draws the mouth and returns its two corners, the image-left one first."""
    person, view, style = head.person, head.view, canvas.style
    x, y, half = head.mouth
    corner = y - 4.2 * view.smile
    gape = 9.0 * view.mouth_open * (0.85 if style == "chibi" else 1.0)
    low, high = y + 3.2 * max(view.smile, -0.6) + gape, y + 1.2 * view.smile - 0.12 * gape
    lip = _lip_colour(canvas, head)
    full = 3.6 * (1.0 + 0.35 * person.lip_fullness) * {"anime": 0.55, "chibi": 0.55}.get(style, 1.0)
    if person.lipstick or person.beard != "none" or style in ("realistic", "3d", "comic"):
        lips = skia.Path()
        lips.moveTo(x - half, corner)
        lips.cubicTo(x - 0.5 * half, high - full * 1.5, x - 0.15 * half, high - full * 1.6, x, high - full * 0.8)
        lips.cubicTo(x + 0.15 * half, high - full * 1.6, x + 0.5 * half, high - full * 1.5, x + half, corner)
        lips.cubicTo(x + 0.5 * half, low + full * 1.5, x - 0.5 * half, low + full * 1.5, x - half, corner)
        canvas.flat(lips, lip, 1.0, 0.5 if style == "realistic" else 0.0)
        canvas.outline(lips, mix(lip, BLACK, 0.3), 0.55)
        canvas.gloss(x + 2.0 * canvas.side, low + full * 0.55, 0.4 * half, 0.4 * full, 0.8)
    line = skia.Path()
    line.moveTo(x - half, corner)
    line.quadTo(x, 2.0 * high - corner, x + half, corner)
    dark = BLACK if style == "comic" else (0.28, 0.05, 0.07)
    if gape > 1.2:
        _inside(canvas, x, half, corner, high, low)
    canvas.stroke(line, dark, {"realistic": 2.2, "3d": 2.2, "comic": 3.4}.get(style, 2.8))
    return (x - half, corner), (x + half, corner)


def _inside(canvas: Canvas, x: float, half: float, corner: float, high: float, low: float) -> None:
    """An open mouth: dark, with upper teeth and tongue."""
    hole = skia.Path()
    hole.moveTo(x - half, corner)
    hole.quadTo(x, 2.0 * high - corner, x + half, corner)
    hole.quadTo(x, 2.0 * low - corner, x - half, corner)
    canvas.flat(hole, (0.22, 0.03, 0.05))
    canvas.skia_canvas.save()
    canvas.skia_canvas.clipPath(hole, skia.ClipOp.kIntersect, True)
    canvas.flat(oval(x, low + 1.0, 0.5 * half, 4.0), (0.85, 0.35, 0.38))
    teeth = skia.Path()
    teeth.addRect(skia.Rect.MakeLTRB(x - half, min(high, corner) - 6.0, x + half, high + 2.6))
    canvas.flat(teeth, WHITE)
    canvas.skia_canvas.restore()


def _lip_colour(canvas: Canvas, head: Head) -> tuple[float, float, float]:
    """The lips' colour: lipstick's, or the skin's, redder."""
    person = head.person
    natural = mix(person.skin_rgb, (0.62, 0.16, 0.18), 0.42)
    return canvas.tint(mix(natural, LIP_COLOURS[person.lip_colour], 0.7 * person.lipstick))


def ears(canvas: Canvas, head: Head) -> None:
    """Both ears, the one the face turns towards hidden in part; none under long hair."""
    if head.person.hair_style in ("long", "bob"):
        return
    size = 1.0 + 0.35 * head.person.ear_size
    for side in (-1.0, 1.0):
        x = head.cx + side * (head.half - 0.5) - 5.0 * head.view.yaw * (1.0 if side * head.view.yaw > 0 else 0.3)
        y = head.p.eye_y + 7.0 - 3.0 * head.view.pitch
        canvas.shape(oval(x, y, 6.5 * size, 10.5 * size), mix(head.person.skin_rgb, (0.7, 0.2, 0.15), 0.10), 4.0)


def marks(canvas: Canvas, head: Head) -> None:
    """Blush, freckles and the lines of age."""
    person, style = head.person, canvas.style
    skin = canvas.tint(person.skin_rgb)
    amount = max(person.blush * 0.6, 0.75 if style == "chibi" else 0.0, 0.35 if style == "3d" else 0.0)
    shade = mix(skin, (0.25, 0.05, 0.06), 0.5)
    for side in (-1.0, 1.0):
        x, y = head.at(side * (head.eye_u + 6.0), head.p.nose_y + 1.5)
        if amount > 0.1 and style != "comic":
            canvas.flat(oval(x, y, 8.5, 5.5), mix(skin, (0.98, 0.30, 0.36), 0.75), 0.75 * amount, 2.6)
        canvas.gloss(x + 1.0 * canvas.side, y - 4.5, 5.0, 3.4, 0.5)
        if person.freckles:
            for du, dv in ((-5, -3), (0.5, -4), (-2.5, 1), (3.5, 0), (6, -5)):
                dot = head.at(side * (head.eye_u - 2.0 + du), head.p.nose_y - 1.0 + dv)
                canvas.flat(oval(*dot, 1.4, 1.4), mix(skin, (0.40, 0.16, 0.06), 0.75), 0.9)
        if person.age > 0.25:
            fold = skia.Path()
            fold.moveTo(*head.at(side * 11.0, head.p.nose_y + 1.0))
            fold.quadTo(*head.at(side * 17.0, head.p.mouth_y - 8.0), *head.at(side * 19.0, head.p.mouth_y + 1.0))
            canvas.stroke(fold, shade, 1.6 + 1.4 * person.age, person.age, 0.6 if style == "realistic" else 0.0)
    if person.age > 0.25:
        for row in (0.0, 6.0):
            wrinkle = skia.Path()
            wrinkle.moveTo(*head.at(-14.0, 43.0 - row, 2.0))
            wrinkle.quadTo(*head.at(0.0, 40.5 - row, 4.0), *head.at(14.0, 43.0 - row, 2.0))
            canvas.stroke(wrinkle, shade, 1.6 + 1.0 * person.age, 0.9 * person.age, 0.5 if style == "realistic" else 0.0)


def beard(canvas: Canvas, head: Head) -> None:
    """Moustache, goatee or full beard in the hair's colour, to be drawn before the mouth."""
    kind = head.person.beard
    if kind == "none":
        return
    colour = mix(head.person.hair_rgb, BLACK, 0.10)
    x, y, half = head.mouth
    if kind == "full":
        canvas.shape(_full_beard(head), colour, 6.0)
    elif kind == "goatee":
        canvas.shape(_goatee(head), colour, 5.0, 0.8)
    if kind in ("moustache", "full"):
        top = min(y - 8.0, head.nose[1] + 5.0)
        path = skia.Path()
        path.moveTo(x, top)
        path.cubicTo(x + 0.6 * half, top - 1.0, x + half, y - 5, x + 1.2 * half, y + 2.5)
        path.cubicTo(x + 0.8 * half, y + 1.5, x + 0.3 * half, y - 0.5, x, y - 2.0)
        path.cubicTo(x - 0.3 * half, y - 0.5, x - 0.8 * half, y + 1.5, x - 1.2 * half, y + 2.5)
        path.cubicTo(x - half, y - 5, x - 0.6 * half, top - 1.0, x, top)
        canvas.shape(path, colour, 4.0, 0.8 if kind == "moustache" else 0.0)


def _goatee(head: Head) -> skia.Path:
    """A ring of beard about the mouth, down over the chin."""
    x, y, half = head.mouth
    chin_x, chin_y = head.chin
    top, wide = min(y - 8.0, head.nose[1] + 5.0), 1.22 * half
    path = skia.Path()
    path.moveTo(x, top)
    path.cubicTo(x + 0.7 * half, top - 1.0, x + wide, y - 6, x + wide, y + 3)
    path.cubicTo(x + wide, y + 14, chin_x + 12, chin_y + 6, chin_x, chin_y + 8)
    path.cubicTo(chin_x - 12, chin_y + 6, x - wide, y + 14, x - wide, y + 3)
    path.cubicTo(x - wide, y - 6, x - 0.7 * half, top - 1.0, x, top)
    return path


def _full_beard(head: Head) -> skia.Path:
    """The face below the sideburns, a little larger than the face, with the cheeks left free."""
    lower = face_path(head, 4.0)
    cut = skia.Path()
    y = head.p.eye_y + 2.0
    x, mouth_y, half = head.mouth
    cut.moveTo(head.cx - head.half - 8, y + 22)
    cut.lineTo(head.cx - head.half + 1, y)
    cut.lineTo(head.cx - head.half + 6, y)
    cut.cubicTo(head.cx - head.half + 8, mouth_y - 4, x - 1.5 * half, mouth_y - 5, x - 0.7 * half, mouth_y - 6)
    cut.lineTo(x + 0.7 * half, mouth_y - 6)
    cut.cubicTo(x + 1.5 * half, mouth_y - 5, head.cx + head.half - 8, mouth_y - 4, head.cx + head.half - 6, y)
    cut.lineTo(head.cx + head.half - 1, y)
    cut.lineTo(head.cx + head.half + 8, y + 22)
    cut.lineTo(head.cx + head.half + 8, 190)
    cut.lineTo(head.cx - head.half - 8, 190)
    cut.close()
    return skia.Op(lower, cut, skia.PathOp.kIntersect_PathOp)


def glasses(canvas: Canvas, head: Head) -> None:
    """Round or square glasses, their frames about four pixels thick."""
    kind = head.person.glasses
    if kind == "none":
        return
    colour = FRAME_COLOURS[head.person.frame_colour]
    rims, centres = [], []
    for side in (-1.0, 1.0):
        x, y = head.at(side * head.eye_u, head.p.eye_y + 1.0, 2.0)
        reach = math.fabs(head.eye_u) - 2.6
        rx = min(reach, 17.5) * max(0.93, head.squeeze(side * head.eye_u))
        path = oval(x, y, rx, rx)
        if kind == "square":
            tall = max(13.0, 0.44 * head.p.eye_h + 4.0)
            path = skia.Path()
            path.addRoundRect(skia.Rect.MakeLTRB(x - rx, y - tall, x + rx, y + tall), 3.0, 3.0)
        rims.append(path)
        centres.append((x, y, rx))
    (left, ly, lr), (right, ry, rr) = centres
    bars = skia.Path()
    bars.moveTo(left + lr, ly - 2)
    bars.quadTo(0.5 * (left + right), ly - 5, right - rr, ry - 2)
    bars.moveTo(left - lr, ly - 3)
    bars.lineTo(head.cx - head.half - 1, ly - 5)
    bars.moveTo(right + rr, ry - 3)
    bars.lineTo(head.cx + head.half + 1, ry - 5)
    for path in rims:
        canvas.flat(path, (0.85, 0.93, 1.0), 0.16)
    edge = BLACK if canvas.style == "comic" else mix(colour, BLACK, 0.6)
    for path in (bars, *rims):
        canvas.stroke(path, edge, 5.6, 1.0 if canvas.style != "realistic" else 0.6)
    for path in (bars, *rims):
        canvas.stroke(path, canvas.tint(colour), 3.8)
