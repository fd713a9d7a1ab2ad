"""The nine hair styles, each a back mass behind the head and a front on it, with silhouettes that differ at a glance."""

from __future__ import annotations

import math

import skia

from .canvas import BLACK, WHITE, Canvas, mix, oval
from .geometry import Head, face_path


def back_hair(canvas: Canvas, head: Head) -> None:
    """What lies behind head and shoulders."""
    style, rgb = head.person.hair_style, mix(head.person.hair_rgb, BLACK, 0.12)
    cx, half, p = head.cx - 2.0 * head.view.yaw, head.half, head.p
    if style in ("long", "bob"):
        bottom = 140.0 if style == "long" else p.chin - 1.0
        flare = 15.0 if style == "bob" else 11.0
        path = skia.Path()
        path.moveTo(cx, p.crown - 9)
        for side in (1.0, -1.0):
            points = [(0.75 * half, p.crown - 9), (half + 10, p.crown + 8), (half + 9, p.eye_y)]
            points += [(half + 10, p.eye_y + 20), (half + flare + 3, bottom - 12), (half + flare - 4, bottom)]
            path.moveTo(cx, p.crown - 9)
            _through(path, [(cx + side * x, y) for x, y in points])
            path.lineTo(cx, bottom)
            path.close()
        path = skia.Simplify(path)
        canvas.shape(path, rgb, 10.0)
    elif style == "curly":
        canvas.shape(_afro(head), rgb, 10.0)
    elif style == "ponytails":
        for side in (-1.0, 1.0):
            canvas.shape(_tail(cx + side * (half + 1), p.eye_y - 22, side), head.person.hair_rgb, 7.0)
    elif style == "bun":
        canvas.shape(oval(cx + 3.0 * head.view.yaw, p.crown - 9, 17.0, 15.0), head.person.hair_rgb, 6.0)


def _through(path: skia.Path, points: list[tuple[float, float]]) -> None:
    """Adds cubics by threes of points."""
    for i in range(0, len(points), 3):
        path.cubicTo(*points[i], *points[i + 1], *points[i + 2])


def _afro(head: Head) -> skia.Path:
    """The afro's whole silhouette."""
    return _cloud(head.cx - 2.0 * head.view.yaw, head.p.eye_y - 14.0, head.half + 11.0, 43.0, 17)


def _afro_front(head: Head) -> skia.Path:
    """The afro with a window for the face."""
    p, line = head.p, head.p.eye_y - 0.5 * head.p.eye_h - 12.0
    window = oval(head.cx + 3.0 * head.view.yaw, line + 45.0, head.half - 3.0, 45.0)
    below = skia.Path()
    below.addRect(skia.Rect.MakeLTRB(-40, p.eye_y + 18, 168, 190))
    window = skia.Op(window, below, skia.PathOp.kUnion_PathOp)
    return skia.Op(_afro(head), window, skia.PathOp.kDifference_PathOp)


def _cloud(cx: float, cy: float, rx: float, ry: float, bumps: int) -> skia.Path:
    """A scalloped ellipse."""
    path = skia.Path()
    for i in range(bumps + 1):
        angle = 2.0 * math.pi * i / bumps
        x, y = cx + rx * math.cos(angle), cy + ry * math.sin(angle)
        if i == 0:
            path.moveTo(x, y)
            continue
        middle = angle - math.pi / bumps
        path.quadTo(cx + (rx + 13) * math.cos(middle), cy + (ry + 13) * math.sin(middle), x, y)
    path.close()
    return path


def _tail(x: float, y: float, side: float) -> skia.Path:
    """One ponytail: a drop that swings out and down from (x, y)."""
    path = skia.Path()
    path.moveTo(x - 4 * side, y)
    path.cubicTo(x + 16 * side, y - 22, x + 32 * side, y + 14, x + 19 * side, y + 66)
    path.cubicTo(x + 8 * side, y + 58, x - 4 * side, y + 40, x - 4 * side, y + 14)
    path.close()
    return path


def front_hair(canvas: Canvas, head: Head) -> None:
    """What lies on the skull and the forehead."""
    style, rgb = head.person.hair_style, head.person.hair_rgb
    if style == "bald":
        canvas.gloss(head.cx + 10 * canvas.side, head.p.crown + 10, 12.0, 6.0, 0.8)
        return
    if style == "mohawk":
        _mohawk(canvas, head)
        return
    path = _afro_front(head) if style == "curly" else _front_path(head)
    canvas.cast(path, face_path(head))
    canvas.shape(path, rgb, 7.0)
    _sheen(canvas, head, path)
    if style == "ponytails":
        for side in (-1.0, 1.0):
            x, y = head.cx + side * (head.half + 1) - 2 * head.view.yaw, head.p.eye_y - 23
            canvas.shape(oval(x, y, 5.0, 5.0), (0.90, 0.15, 0.25), 2.0)


def _front_path(head: Head) -> skia.Path:
    """The outline of the hair on the skull: outer arch from ear to ear, then back along the hairline."""
    style, p = head.person.hair_style, head.p
    cx, fx = head.cx, head.cx + 7.0 * head.view.yaw
    swell = {"bun": 3.0, "spiky": 4.0, "ponytails": 4.0}.get(style, 6.5)
    half, top = head.half + 0.75 * swell, p.crown - swell
    low = p.eye_y + {"short": 4.0, "bun": -6.0, "spiky": 2.0, "ponytails": -6.0, "bob": 34.0, "long": 46.0}[style]
    line = p.eye_y - 0.5 * p.eye_h - {"bun": 20.0, "bob": 6.5, "spiky": 17.0}.get(style, 16.0)
    line += 3.0 * head.view.pitch
    path = skia.Path()
    path.moveTo(cx - half, low)
    if style == "spiky":
        _spikes(path, cx, half, top, low)
    else:
        path.lineTo(cx - half, p.eye_y - 4)
        path.cubicTo(cx - half, top + 17, cx - 0.66 * half, top, cx, top)
        path.cubicTo(cx + 0.66 * half, top, cx + half, top + 17, cx + half, p.eye_y - 4)
        path.lineTo(cx + half, low)
    inner = head.half - {"short": 4.0, "bun": 2.0, "spiky": 4.0}.get(style, 6.0)
    path.quadTo(cx + inner + 1, low - 4, cx + inner, min(low - 8, p.eye_y - 6) if low < p.eye_y + 20 else p.eye_y)
    _hairline(path, style, fx, cx, inner, line)
    path.quadTo(cx - inner - 1, low - 4, cx - half, low)
    path.close()
    return path


def _spikes(path: skia.Path, cx: float, half: float, top: float, low: float) -> None:
    """Tall spikes fanning out over the skull, from left to right."""
    count, centre_y = 7, top + 38.0
    for i in range(count):
        angle = math.pi * (1.0 - (i + 0.5) / count)
        valley = math.pi * (1.0 - (i + 1.0) / count)
        path.lineTo(cx + (half + 17) * math.cos(angle), centre_y - 56 * math.sin(angle) - 2)
        if i < count - 1:
            path.lineTo(cx + (half + 1) * math.cos(valley), centre_y - 37 * math.sin(valley))
    path.lineTo(cx + half, low)


def _hairline(path: skia.Path, style: str, fx: float, cx: float, inner: float, line: float) -> None:
    """The edge over the forehead, from the image's right to its left."""
    if style == "bob":
        path.lineTo(cx + inner, line + 3)
        path.quadTo(fx, line - 2, cx - inner, line + 3)
    elif style == "long":
        path.quadTo(cx + inner - 2, line - 2, fx, line - 13)
        path.quadTo(cx - inner + 2, line - 2, cx - inner, line + 20)
    elif style == "ponytails":
        path.quadTo(cx + inner - 6, line + 5, fx, line - 12)
        path.quadTo(cx - inner + 6, line + 5, cx - inner, line + 14)
    elif style == "short":
        path.cubicTo(cx + inner, line + 2, cx + 0.5 * inner, line - 2, fx + 12, line - 9)
        path.cubicTo(fx + 4, line + 3, fx - 20, line + 8, cx - inner, line + 12)
    elif style == "spiky":
        for i in range(1, 6):
            x = cx + inner - 2.0 * inner * i / 6.0
            path.lineTo(x + 0.33 * inner * 0.5, line - 4)
            path.lineTo(x, line + (7 if i % 2 else 2))
        path.lineTo(cx - inner, line + 8)
    else:
        path.cubicTo(cx + inner - 2, line, fx + 14, line, fx, line)
        path.cubicTo(fx - 14, line, cx - inner + 2, line, cx - inner, line + 12)


def _mohawk(canvas: Canvas, head: Head) -> None:
    """Shaved sides and one tall crest."""
    rgb, p = head.person.hair_rgb, head.p
    fx = head.cx + 6.0 * head.view.yaw
    skia_canvas = canvas.skia_canvas
    skia_canvas.save()
    skia_canvas.clipPath(face_path(head), skia.ClipOp.kIntersect, True)
    for side in (-1.0, 1.0):
        shaved = oval(head.cx + side * head.half, p.crown + 18, 0.55 * head.half, 24.0)
        canvas.flat(shaved, mix(canvas.tint(head.person.skin_rgb), canvas.tint(rgb), 0.45), 0.75, 2.0)
    skia_canvas.restore()
    path = skia.Path()
    path.moveTo(fx - 13, p.crown + 19)
    path.cubicTo(head.cx - 20, p.crown, head.cx - 24, p.crown - 10, head.cx - 24, p.crown - 11)
    for i, x in enumerate((-18, -12, -6, 0, 6, 12, 18)):
        path.lineTo(head.cx + x, p.crown - (24 if i % 2 == 0 else 14) + 0.03 * x * x)
    path.lineTo(head.cx + 24, p.crown - 11)
    path.cubicTo(head.cx + 24, p.crown - 10, head.cx + 20, p.crown, fx + 13, p.crown + 19)
    path.quadTo(fx, p.crown + 27, fx - 13, p.crown + 19)
    canvas.shape(path, rgb, 6.0)
    _sheen(canvas, head, path)


def _sheen(canvas: Canvas, head: Head, path: skia.Path) -> None:
    """Strands and shine on the hair: soft when realistic, a band in anime, a bright spot in 3d, ink strokes in comic."""
    style, p = canvas.style, head.p
    rgb = canvas.tint(head.person.hair_rgb)
    cx, half, top = head.cx, head.half, p.crown
    skia_canvas = canvas.skia_canvas
    skia_canvas.save()
    skia_canvas.clipPath(path, skia.ClipOp.kIntersect, True)
    light = mix(rgb, WHITE, 0.55 if max(rgb) > 0.3 else 0.38)
    if style == "anime":
        band = skia.Path()
        band.moveTo(cx - 0.85 * half, top + 17)
        for i, x in enumerate((-0.6, -0.35, -0.1, 0.15, 0.4, 0.62, 0.85)):
            band.lineTo(cx + x * half, top + 4 + 11 * x * x + (5 if i % 2 else 0))
        canvas.stroke(band, light, 3.6, 0.95)
    elif style == "3d":
        canvas.flat(oval(cx + 0.35 * half * canvas.side, top + 4, 0.36 * half, 5.0), WHITE, 0.6, 2.4)
    elif style == "chibi":
        canvas.flat(oval(cx + 0.4 * half * canvas.side, top + 4, 0.28 * half, 4.0), WHITE, 0.5)
    else:
        count = 5 if style == "comic" else 8
        for i in range(count):
            strand = skia.Path()
            x = (2.0 * i / (count - 1) - 1.0) * 0.8 * half
            strand.moveTo(cx + 0.5 * x, top - 8)
            strand.quadTo(cx + 1.3 * x, top + 2, cx + 1.5 * x, top + 28)
            if style == "comic":
                canvas.stroke(strand, BLACK if max(rgb) > 0.3 else light, 2.2)
            else:
                canvas.stroke(strand, mix(rgb, BLACK, 0.5), 2.4, 0.4, 0.9)
                canvas.flat(oval(cx + 1.35 * x + 5, top + 4 + 0.006 * x * x, 2.6, 6.0), light, 0.40 * canvas.strength, 1.6)
    skia_canvas.restore()
