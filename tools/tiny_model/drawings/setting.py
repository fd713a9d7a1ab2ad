"""What surrounds the face: the backdrop, neck and shoulders, and the clothes."""

from __future__ import annotations

import math

import skia

from .canvas import BLACK, WARM, WHITE, Canvas, argb, curve, dim, mix, oval, polyline
from .features import shadow_under_chin
from .geometry import Head
from .person import View

RGB = tuple[float, float, float]


def backdrop(canvas: Canvas, view: View) -> None:
    """The style's backdrop in the view's colour, over the whole picture of 128 units."""
    skia_canvas, style = canvas.skia_canvas, canvas.style
    rgb = canvas.tint(view.background_rgb)
    skia_canvas.clear(argb(rgb))
    if style == "realistic":
        _lit(canvas, (64 + 44 * canvas.lean, 30), 118, [mix(rgb, WARM, 0.22), rgb, dim(rgb, 0.40), dim(rgb, 0.62)])
        for x, y, r, a in ((14, 26, 17, 0.17), (112, 50, 22, 0.13), (34, 4, 12, 0.10), (120, 8, 13, 0.16), (6, 72, 14, 0.11)):
            canvas.glow(x, y, 1.2 * r, 1.2 * r, mix(rgb, WARM, 0.7), 1.6 * a)
    elif style == "3d":
        _lit(canvas, (64, 52), 92, [mix(rgb, WHITE, 0.42), mix(rgb, WHITE, 0.08), dim(rgb, 0.26), dim(rgb, 0.42)])
    elif style == "anime":
        canvas.fade(_all(), (0, 0), (0, 128), [argb(mix(rgb, WHITE, 0.02)), argb(mix(rgb, WHITE, 0.34))])
        for left, wide in ((70, 20), (98, 7)):
            canvas.flat(
                polyline((left + 40, 0), (left + 40 + wide, 0), (left - 40 + wide, 128), (left - 40, 128), closed=True),
                WHITE,
                0.20,
            )
    elif style == "chibi":
        for x, y, r in ((14, 18, 8), (115, 24, 10), (10, 66, 6), (119, 74, 7), (16, 108, 9), (112, 112, 8), (64, 4, 6)):
            canvas.flat(oval(x, y, r, r), mix(rgb, WHITE, 0.5))
    else:
        _rays(canvas, rgb)


def _all() -> skia.Path:
    path = skia.Path()
    path.addRect(skia.Rect.MakeLTRB(0, 0, 128, 128))
    return path


def _lit(canvas: Canvas, spot: tuple[float, float], radius: float, colours: list[RGB]) -> None:
    """A wall that a lamp lights about the spot."""
    shader = skia.GradientShader.MakeRadial(skia.Point(*spot), radius, [argb(c) for c in colours], [0.0, 0.42, 0.8, 1.0])
    canvas.skia_canvas.drawPaint(skia.Paint(Shader=shader))


def _rays(canvas: Canvas, rgb: RGB) -> None:
    """Beams from behind the head and a halftone corner."""
    count = 9
    for i in range(count):
        a, b = 2 * math.pi * i / count, 2 * math.pi * (i + 0.5) / count
        beam = polyline(
            (64, 60),
            (64 + 120 * math.cos(a), 60 + 120 * math.sin(a)),
            (64 + 120 * math.cos(b), 60 + 120 * math.sin(b)),
            closed=True,
        )
        canvas.flat(beam, mix(rgb, WHITE, 0.28))
    far = 128 if canvas.side < 0 else 0
    corner = polyline((far, 24), (far, 128), (128 - far, 128), closed=True)
    canvas.skia_canvas.drawPath(corner, canvas.dots(mix(rgb, BLACK, 0.36)))


def body(canvas: Canvas, head: Head) -> None:
    """Neck, shoulders and clothes; in chibi a small body."""
    person, view, chibi = head.person, head.view, head.small
    x, woman = 64.0 + 2.5 * view.yaw, person.gender == "woman"
    wide = (13.5 if woman else 18.0) * (0.62 if chibi else 1.0)
    shoulder = 30.0 if chibi else 56.0 if woman else 65.0
    base = 104.0 if chibi else 126.0
    neck = skia.Path()
    top = head.p.chin - 22.0
    neck.moveTo(x - wide, top)
    neck.cubicTo(x - wide, base - 9, x - wide - 2, base - 3, x - wide - 9, base + 1)
    neck.lineTo(x - wide - 9, 180)
    neck.lineTo(x + wide + 9, 180)
    neck.lineTo(x + wide + 9, base + 1)
    neck.cubicTo(x + wide + 2, base - 3, x + wide, base - 9, x + wide, top)
    neck.close()
    if view.garment == "hoodie":
        hood = oval(x, base + 3, wide + (17 if not chibi else 10), 15.0 if not chibi else 9.0)
        canvas.shape(hood, mix(view.clothes_rgb, BLACK, 0.25), 5.0)
    canvas.shape(neck, person.skin_rgb, 0.0)
    shadow_under_chin(canvas, head, neck)
    torso = _torso(x, wide, shoulder, base, chibi)
    if chibi:
        for side in (-1.0, 1.0):
            _arm(canvas, head, x + side * (shoulder - 3), base + 6, side)
    canvas.shape(torso, view.clothes_rgb, 8.0)
    _cloth(canvas, head, torso)
    with canvas.clipped(torso):
        _garment(canvas, view, x, wide, base, 0.7 if chibi else 1.0)


def _arm(canvas: Canvas, head: Head, x: float, y: float, side: float) -> None:
    """A chibi's arm, away from the body, with its hand."""
    turn = skia.Matrix()
    turn.setRotate(-24.0 * side, x, y)
    for path, rgb in ((oval(x, y + 25, 5.6, 5.8), head.person.skin_rgb), (oval(x, y + 11, 6.6, 14.0), head.view.clothes_rgb)):
        path.transform(turn)
        canvas.shape(path, rgb, 2.5)


def _torso(x: float, wide: float, shoulder: float, base: float, chibi: bool) -> skia.Path:
    """The clothes' outline, round at the shoulders."""
    drop = 14.0 if chibi else 17.0
    path = skia.Path()
    path.moveTo(x - shoulder - 2, 190)
    path.cubicTo(x - shoulder - 1, base + drop + 8, x - shoulder * 0.86, base + 0.55 * drop, x - wide - 6, base - 3)
    path.quadTo(x, base + (14 if not chibi else 8), x + wide + 6, base - 3)
    path.cubicTo(x + shoulder * 0.86, base + 0.55 * drop, x + shoulder + 1, base + drop + 8, x + shoulder + 2, 190)
    path.close()
    return path


def _cloth(canvas: Canvas, head: Head, torso: skia.Path) -> None:
    """Light and fold on the cloth in the lit styles."""
    if not canvas.soft:
        return
    rgb = canvas.tint(head.view.clothes_rgb)
    box = torso.getBounds()
    with canvas.clipped(torso):
        x, y = box.centerX() + 0.30 * box.width() * canvas.side, box.top() + 20
        canvas.glow(x, y, 24, 11, mix(rgb, WARM, 0.6), 0.42)
        canvas.glow(head.chin[0], box.top() + 4, 34, 12, dim(rgb, 0.9), 0.55)


def _garment(canvas: Canvas, view: View, x: float, wide: float, base: float, k: float) -> None:
    """Neckline and collar. `k` is the size of the details."""
    rgb, kind = view.clothes_rgb, view.garment
    line = canvas.ink(rgb) if not canvas.soft else dim(canvas.tint(rgb), 0.75)
    if max(rgb) < 0.3 and not canvas.soft:
        line = mix(canvas.tint(rgb), WHITE, 0.28)
    thin = 1.6 if canvas.style in ("comic", "chibi") else 1.1
    neckline = curve((x - wide - 7, base - 5), (x, base + (15 if k == 1 else 9)), (x + wide + 7, base - 5))
    if kind == "t-shirt":
        canvas.stroke(neckline, mix(canvas.tint(rgb), BLACK, 0.18), 7.5 * k)
        below = skia.Path(neckline)
        below.offset(0.0, 3.8 * k)
        canvas.stroke(below, line, thin, 0.9)
    elif kind == "turtleneck":
        canvas.stroke(neckline, mix(canvas.tint(rgb), WHITE, 0.10), 17.0 * k)
        for t in (-0.66, -0.33, 0.0, 0.33, 0.66):
            y = base + (1.0 - t * t) * 5.0
            canvas.stroke(curve((x + t * wide, y - 6 * k), (x + t * wide * 1.06, y + 6 * k)), line, thin, 0.6)
    elif kind == "hoodie":
        canvas.stroke(neckline, mix(canvas.tint(rgb), BLACK, 0.28), 8.0 * k)
        for side in (-1.0, 1.0):
            cord = curve(
                (x + side * 8 * k, base + 6 * k), (x + side * 8.5 * k, base + 18 * k), (x + side * 8 * k, base + 26 * k)
            )
            canvas.stroke(cord, line, 2.6 * k + 0.8)
            canvas.stroke(cord, mix(canvas.tint(rgb), WHITE, 0.75), 1.9 * k)
    elif kind == "shirt":
        canvas.stroke(polyline((x, base), (x, 190)), line, thin)
        for side in (-1.0, 1.0):
            flap = polyline(
                (x, base + 11 * k),
                (x + side * (wide + 8 * k), base - 6),
                (x + side * (wide + 11 * k), base + 4 * k),
                (x + side * 9 * k, base + 23 * k),
                closed=True,
            )
            canvas.shape(flap, mix(rgb, WHITE, 0.28), 0.0, 0.8)
            if canvas.soft:
                canvas.stroke(flap, line, 0.9, 0.7)
        canvas.flat(oval(x, base + 27 * k, 1.6 * k, 1.6 * k), line)
    else:
        _suit(canvas, rgb, x, wide, base, k)


def _suit(canvas: Canvas, rgb: RGB, x: float, wide: float, base: float, k: float) -> None:
    """White shirt, tie and lapels."""
    white, tie = (0.95, 0.95, 0.97), (rgb[2], 0.6 * rgb[0] + 0.1, rgb[1])
    canvas.shape(polyline((x - wide - 6, base - 8), (x + wide + 6, base - 8), (x, base + 46 * k), closed=True), white, 0.0, 0.6)
    knot = polyline(
        (x - 4 * k, base + 7 * k),
        (x + 4 * k, base + 7 * k),
        (x + 2.6 * k, base + 14 * k),
        (x + 6 * k, base + 50 * k),
        (x - 6 * k, base + 50 * k),
        (x - 2.6 * k, base + 14 * k),
        closed=True,
    )
    canvas.shape(knot, mix(tie, (0.6, 0.1, 0.15), 0.4), 0.0, 0.6)
    for side in (-1.0, 1.0):
        collar = polyline(
            (x, base + 9 * k),
            (x + side * (wide + 5), base - 7),
            (x + side * (wide + 6), base + 2 * k),
            (x + side * 7 * k, base + 17 * k),
            closed=True,
        )
        canvas.shape(collar, (0.99, 0.99, 1.0), 0.0, 0.6)
        lapel = polyline(
            (x + side * (wide + 4), base - 6),
            (x + side * (wide + 15 * k), base + 3 * k),
            (x + side * (wide + 9 * k), base + 16 * k),
            (x + side * (wide + 14 * k), base + 19 * k),
            (x, base + 50 * k),
            closed=True,
        )
        canvas.shape(lapel, mix(rgb, BLACK, 0.14), 0.0, 0.8)
        if canvas.soft:
            canvas.stroke(lapel, dim(canvas.tint(rgb), 0.8), 0.9, 0.8)
            canvas.stroke(collar, (0.55, 0.55, 0.6), 0.7, 0.6)
