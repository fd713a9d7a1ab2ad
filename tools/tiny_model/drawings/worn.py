"""Beards, glasses and earrings."""

from __future__ import annotations

import math

import skia

from .canvas import BLACK, WARM, WHITE, Canvas, curve, dim, mix, oval
from .geometry import Head, face_path
from .palettes import FRAME_COLOURS


def beard(canvas: Canvas, head: Head) -> None:
    """Stubble, moustache, goatee, full or long beard in the hair's colour, to be drawn before the mouth."""
    kind = head.person.beard
    if kind == "none":
        return
    colour = mix(head.person.hair_rgb, BLACK, 0.10)
    if kind == "stubble":
        _stubble(canvas, head)
        return
    if kind in ("full", "long"):
        path = _full_beard(head, kind == "long")
        canvas.shape(path, colour, 6.0)
        _hairs(canvas, head, path)
    elif kind == "goatee":
        path = _goatee(head)
        canvas.shape(path, colour, 4.0, 0.8)
        _hairs(canvas, head, path)
    if kind != "goatee":
        path = _moustache(head, kind == "moustache")
        canvas.shape(path, colour if kind == "moustache" else mix(colour, BLACK, 0.14), 2.0, 0.8)
        if kind == "moustache":
            _hairs(canvas, head, path)


def _stubble(canvas: Canvas, head: Head) -> None:
    """A darker lower face."""
    skin, hair = canvas.tint(head.person.skin_rgb), canvas.tint(head.person.hair_rgb)
    colour = mix(mix(skin, mix(hair, BLACK, 0.4), 0.5), dim(skin, 0.6), 0.3)
    with canvas.clipped(face_path(head)):
        if canvas.style == "comic":
            canvas.skia_canvas.drawPath(_full_beard(head, False), canvas.dots(mix(hair, BLACK, 0.5)))
        else:
            canvas.flat(_full_beard(head, False), colour, 0.55, 1.8 if canvas.soft else 0.0)


def _moustache(head: Head, bold: bool) -> skia.Path:
    """Two wings from under the nose past the mouth's corners."""
    x, y, half = head.mouth
    half = max(half, 9.0) * (1.0 if not bold else 1.08)
    top = max(min(y - 7.0, head.nose[1] + 5.0), y - 11.0)
    path = skia.Path()
    path.moveTo(x, top + 1.0)
    path.cubicTo(x + 0.5 * half, top - 1.5, x + half, y - 5, x + 1.22 * half, y + 2.5)
    path.cubicTo(x + 0.8 * half, y + 1.2, x + 0.3 * half, y - 0.6, x, y - 2.4)
    path.cubicTo(x - 0.3 * half, y - 0.6, x - 0.8 * half, y + 1.2, x - 1.22 * half, y + 2.5)
    path.cubicTo(x - half, y - 5, x - 0.5 * half, top - 1.5, x, top + 1.0)
    path.close()
    return path


def _goatee(head: Head) -> skia.Path:
    """A ring of beard about the mouth, down over the chin."""
    x, y, half = head.mouth
    half = max(half, 9.0)
    chin_x, chin_y = head.chin
    top, wide = max(min(y - 7.0, head.nose[1] + 5.0), y - 11.0), 1.18 * half
    path = skia.Path()
    path.moveTo(x, top + 1.0)
    path.cubicTo(x + 0.7 * half, top - 1.0, x + wide, y - 6, x + wide, y + 3)
    path.cubicTo(x + wide, y + 13, chin_x + 9, chin_y + 5, chin_x, chin_y + 6)
    path.cubicTo(chin_x - 9, chin_y + 5, x - wide, y + 13, x - wide, y + 3)
    path.cubicTo(x - wide, y - 6, x - 0.7 * half, top - 1.0, x, top + 1.0)
    path.close()
    return path


def _full_beard(head: Head, long: bool) -> skia.Path:
    """The face below the sideburns, a little larger than the face, with the cheeks left free."""
    lower = face_path(head, 3.0)
    x, mouth_y, half = head.mouth
    half = max(half, 9.0)
    chin_x, chin_y = head.chin
    if long:
        drop, fall = skia.Path(), 15.0 if head.small else 25.0
        drop.moveTo(head.cx - 0.72 * head.half, mouth_y + 2)
        drop.cubicTo(head.cx - 0.9 * head.half, chin_y + 4, chin_x - 13, chin_y + fall - 3, chin_x, chin_y + fall)
        drop.cubicTo(
            chin_x + 13, chin_y + fall - 3, head.cx + 0.9 * head.half, chin_y + 4, head.cx + 0.72 * head.half, mouth_y + 2
        )
        drop.close()
        lower = skia.Op(lower, drop, skia.PathOp.kUnion_PathOp)
    cut = skia.Path()
    y = head.p.eye_y + (6.0 if head.small else 4.0)
    left, right = head.cx - head.half, head.cx + head.half
    corner = mouth_y + (3.0 if head.small else -1.5)
    cut.moveTo(left - 8, y)
    cut.lineTo(left + 3.5, y)
    cut.cubicTo(left + 5.5, y + 14, left + 6, corner - 9, left + 0.30 * head.half, corner - 3)
    cut.quadTo(x - 1.5 * half, corner + 1, x - 1.05 * half, corner - 5)
    cut.lineTo(x + 1.05 * half, corner - 5)
    cut.quadTo(x + 1.5 * half, corner + 1, right - 0.30 * head.half, corner - 3)
    cut.cubicTo(right - 6, corner - 9, right - 5.5, y + 14, right - 3.5, y)
    cut.lineTo(right + 8, y)
    cut.lineTo(right + 8, 190)
    cut.lineTo(left - 8, 190)
    cut.close()
    return skia.Op(lower, cut, skia.PathOp.kIntersect_PathOp)


def _hairs(canvas: Canvas, head: Head, path: skia.Path) -> None:
    """Strands in a beard: fine when realistic, soft grooves in 3d, a few lines in the drawn styles."""
    rgb, x, style = canvas.tint(head.person.hair_rgb), head.mouth[0], canvas.style
    box = path.getBounds()
    line_rgb = mix(rgb, WHITE, 0.28) if max(rgb) < 0.3 else canvas.ink(head.person.hair_rgb)
    count = {"realistic": 24, "anime": 5, "3d": 9, "chibi": 3, "comic": 7}[style]
    with canvas.clipped(path):
        for i in range(count):
            t = 2.0 * (i + 0.5) / count - 1.0
            rise = 0.04 if style in ("realistic", "3d") else 0.42 if i % 2 else 0.55
            start = (x + 0.9 * t * 0.5 * box.width(), box.top() + rise * box.height())
            end = (x + 0.55 * t * 0.5 * box.width(), box.bottom() + (2 if canvas.soft else -0.1 * box.height()))
            line = curve(start, (x + t * 0.5 * box.width(), 0.5 * (start[1] + end[1])), end)
            if style == "realistic":
                canvas.stroke(line, dim(rgb, 0.6) if i % 2 else mix(rgb, WARM, 0.28), 0.9, 0.32)
            elif style == "3d":
                canvas.stroke(line, dim(rgb, 0.6), 1.8, 0.35, 0.8)
            else:
                canvas.stroke(line, line_rgb, 1.4 if style == "comic" else 0.9, 0.9)


def glasses(canvas: Canvas, head: Head) -> None:
    """Round, square or cat-eye glasses."""
    kind = head.person.glasses
    if kind == "none":
        return
    colour = FRAME_COLOURS[head.person.frame_colour]
    rims, ends = [], []
    lowest = head.p.mouth_y - head.p.eye_y - 6.0
    for side in (-1.0, 1.0):
        x, y = head.at(side * head.eye_u, head.p.eye_y + 1.0, 2.0)
        rx = min(math.fabs(head.eye_u) - 2.4, 0.42 * head.half) * max(0.93, head.squeeze(side * head.eye_u))
        rims.append(_rim(kind, x, y, rx, min(lowest, max(9.5, 0.5 * head.p.eye_h + 3.5)), lowest, side))
        ends.append((x, y, rx))
    (left, ly, lr), (right, ry, rr) = ends
    bars = curve((left + lr, ly - 2), (0.5 * (left + right), ly - 5), (right - rr, ry - 2))
    for edge_x, rim_x, y in ((head.cx - head.half, left - lr, ly - 3), (head.cx + head.half, right + rr, ry - 3)):
        if abs(edge_x - 64.0) > abs(rim_x - 64.0):  # else the head's turn hides the temple
            bars.moveTo(rim_x, y)
            bars.lineTo(edge_x, y - 1)
    for path, (x, y, rx) in zip(rims, ends, strict=True):
        with canvas.clipped(path):
            canvas.flat(path, (0.85, 0.93, 1.0), 0.12)
            shine = skia.Path()
            shine.addPoly(
                [skia.Point(x + d * rx, y + e * rx) for d, e in ((-0.1, -1.3), (0.4, -1.3), (-0.5, 1.3), (-1.0, 1.3))], True
            )
            canvas.flat(shine, WHITE, 0.20)
    if canvas.soft:
        for path in (bars, *rims):
            shadow = skia.Path(path)
            shadow.offset(-0.8 * canvas.side, 2.0)
            canvas.stroke(shadow, dim(canvas.tint(head.person.skin_rgb), 0.9), 2.2, 0.38, 0.9)
    edge = BLACK if canvas.style == "comic" else mix(colour, BLACK, 0.6)
    for path in (bars, *rims):
        canvas.stroke(path, edge, 3.9 if canvas.style in ("comic", "chibi") else 3.3, 1.0 if not canvas.soft else 0.8)
    for path in (bars, *rims):
        canvas.stroke(path, canvas.tint(colour), 2.3)


def _rim(kind: str, x: float, y: float, rx: float, tall: float, lowest: float, side: float) -> skia.Path:
    """One lens's frame; it reaches no further down than `lowest`."""
    path = skia.Path()
    if kind == "round":
        return oval(x, y, rx, min(lowest, max(rx, tall)))
    if kind == "square":
        path.addRoundRect(skia.Rect.MakeLTRB(x - rx, y - tall, x + rx, y + tall), 3.0, 3.0)
        return path
    path.moveTo(x - side * rx, y - 0.55 * tall)
    path.cubicTo(x - side * 0.5 * rx, y - 0.9 * tall, x + side * 0.7 * rx, y - 0.9 * tall, x + side * 1.14 * rx, y - 1.3 * tall)
    path.cubicTo(x + side * 1.08 * rx, y + 0.2 * tall, x + side * 0.8 * rx, y + tall, x, y + tall)
    path.cubicTo(x - side * 0.8 * rx, y + tall, x - side * 1.05 * rx, y + 0.3 * tall, x - side * rx, y - 0.55 * tall)
    path.close()
    return path


def earrings(canvas: Canvas, head: Head) -> None:
    """Studs or hoops at both lobes."""
    kind, gold = head.person.earrings, (0.93, 0.74, 0.26)
    if kind == "none":
        return
    size = (1.0 + 0.32 * head.person.ear_size) * (0.8 if head.small else 1.0)
    edge = canvas.ink(gold) if not canvas.soft else dim(gold, 0.6)
    for side in (-1.0, 1.0):
        x = head.cx + side * (head.half + 1.6) - 5.0 * head.view.yaw * (1.0 if side * head.view.yaw > 0 else 0.3)
        y = head.p.eye_y + 8.0 - 3.0 * head.view.pitch + 10.5 * size
        if kind == "studs":
            canvas.flat(oval(x, y, 2.7, 2.7), edge)
            canvas.flat(oval(x, y, 2.0, 2.0), (0.92, 0.95, 1.0))
            continue
        hoop = oval(x + side, y + 7.0, 5.2, 6.6)
        canvas.stroke(hoop, edge, 3.0)
        canvas.stroke(hoop, gold, 1.8)
