"""Draws the hair: a mass behind the head, one on it, and the strands and shine that each style gives it."""

from __future__ import annotations

import skia

from .canvas import BLACK, WARM, WHITE, Canvas, curve, dim, mix, oval, polyline
from .geometry import Head, face_path
from .locks import LONG, back_mass, braid, bun, cap, edge, mohawk, skull, swell, tail, tress

BAND = (0.90, 0.15, 0.25)


def back_hair(canvas: Canvas, head: Head) -> None:
    """What lies behind head and shoulders."""
    style, rgb = head.person.hair_style, head.person.hair_rgb
    mass = back_mass(head)
    if mass is not None:
        canvas.shape(mass, mix(rgb, BLACK, 0.16), 10.0)
        _fall(canvas, head, mass)
    elif style == "ponytails":
        for side in (-1.0, 1.0):
            path = tail(head, side)
            canvas.shape(path, rgb, 6.0)
            _fall(canvas, head, path)
    elif style == "braid":
        canvas.shape(tress(head), mix(rgb, BLACK, 0.16), 4.0)
    elif style == "bun":
        path = bun(head)
        canvas.shape(path, rgb, 6.0)
        _coil(canvas, head, path)


def front_hair(canvas: Canvas, head: Head) -> None:
    """What lies on the skull and the forehead."""
    style, rgb = head.person.hair_style, head.person.hair_rgb
    if style == "bald":
        canvas.gloss(head.cx + 5 * head.view.yaw + 12 * canvas.side, head.crown + 13, 11.0, 6.5, 0.8)
        if not canvas.soft:
            shine = oval(head.cx + 5 * head.view.yaw + 14 * canvas.side, head.crown + 12, 6.0, 3.4)
            canvas.flat(shine, mix(canvas.tint(head.person.skin_rgb), WHITE, 0.6))
        return
    if style in ("mohawk", "buzz"):
        _shaved(canvas, head)
    if style == "buzz":
        return
    path = mohawk(head) if style == "mohawk" else cap(head)
    canvas.cast(path, face_path(head), head.person.skin_rgb, 2.6)
    canvas.shape(path, rgb, 6.0)
    with canvas.clipped(path):
        _sheen(canvas, head)
    if style == "ponytails":
        for side in (-1.0, 1.0):
            x, y = head.cx + side * (head.half + 2) - 2 * head.view.yaw, head.p.eye_y - 21
            canvas.shape(oval(x, y, 4.6, 5.4), BAND, 2.0)


def over_shoulder(canvas: Canvas, head: Head) -> None:
    """What hangs over the clothes: a plait."""
    if head.person.hair_style != "braid":
        return
    for path in braid(head):
        canvas.shape(path, head.person.hair_rgb, 3.0)
        if canvas.soft:
            canvas.stroke(path, dim(canvas.tint(head.person.hair_rgb), 0.75), 1.2, 0.5, 0.6)


def _shaved(canvas: Canvas, head: Head) -> None:
    """Hair a few millimetres long: a tone over the skull."""
    person = head.person
    skin, hair = canvas.tint(person.skin_rgb), canvas.tint(person.hair_rgb)
    path = skull(head)
    lower = skia.Path()
    points = edge(head)
    lower.moveTo(points[0][0] - 12, 200)
    lower.lineTo(points[0][0] - 12, head.p.eye_y + 3)
    lower.lineTo(points[0][0] + 3, head.p.eye_y + 3)
    for point in points:
        lower.lineTo(*point)
    lower.lineTo(points[-1][0] - 3, head.p.eye_y + 3)
    lower.lineTo(points[-1][0] + 12, head.p.eye_y + 3)
    lower.lineTo(points[-1][0] + 12, 200)
    lower.close()
    top = skia.Op(path, lower, skia.PathOp.kDifference_PathOp)
    share = 0.72 if person.hair_style == "buzz" else 0.4
    colour = mix(skin, dim(hair, 0.15), share)
    if canvas.soft:
        canvas.flat(top, colour, 0.95, 0.7)
        with canvas.clipped(path):
            canvas.glow(head.cx - head.half * canvas.side, head.crown + 26, 0.8 * head.half, 34, dim(colour, 0.85), 0.55)
            canvas.gloss(head.cx + 12 * canvas.side, head.crown + 10, 13, 8, 0.5)
    else:
        canvas.flat(top, colour)
        canvas.outline(path, person.skin_rgb)


def _fall(canvas: Canvas, head: Head, path: skia.Path) -> None:
    """Strands in what hangs: fine when realistic, a few lines in the drawn styles, grooves in 3d."""
    rgb, box = canvas.tint(mix(head.person.hair_rgb, BLACK, 0.16)), path.getBounds()
    style = canvas.style
    if head.person.hair_style == "curly":
        return
    count = {"realistic": 30, "anime": 8, "3d": 7, "chibi": 0, "comic": 8}[style]
    with canvas.clipped(path):
        for i in range(count):
            t = 2.0 * (i + 0.5) / count - 1.0
            x = box.centerX() + 0.5 * box.width() * t
            swing = 4.0 if head.person.hair_style == "wavy" else 0.0
            top, bottom = box.top() + 0.25 * box.height(), box.bottom() + 4
            third = (bottom - top) / 3
            line = curve((x * 0.9 + 6.4, top), (x + swing, top + third), (x - swing, top + 2 * third), (x, bottom))
            if style == "realistic":
                canvas.stroke(line, dim(rgb, 0.55) if i % 2 else mix(rgb, WARM, 0.24), 1.1, 0.32)
            elif style == "3d":
                canvas.stroke(line, dim(rgb, 0.6), 2.2, 0.35, 1.0)
            else:
                canvas.stroke(
                    line,
                    canvas.ink(head.person.hair_rgb) if max(rgb) > 0.3 else mix(rgb, WHITE, 0.3),
                    0.9 if style == "anime" else 1.6,
                )


def _coil(canvas: Canvas, head: Head, path: skia.Path) -> None:
    """The turns of a bun."""
    box, rgb = path.getBounds(), canvas.tint(head.person.hair_rgb)
    dark = dim(rgb, 0.6) if canvas.soft else canvas.ink(head.person.hair_rgb)
    if not canvas.soft and max(rgb) < 0.3:
        dark = mix(rgb, WHITE, 0.3)
    with canvas.clipped(path):
        for t in (-0.35, 0.25):
            x = box.centerX() + t * box.width()
            line = curve((x - 6, box.bottom()), (x - 3, box.top() + 4), (x + 10, box.top() + 2))
            canvas.stroke(line, dark, 1.6, 0.55 if canvas.soft else 1.0, 0.8 if canvas.soft else 0.0)
        canvas.gloss(box.centerX() + 5 * canvas.side, box.top() + 6, 6.0, 3.5, 0.8)


def _strands(head: Head, count: int) -> list[skia.Path]:
    """Lines from the parting over the skull to the hair's edge, from left to right."""
    person, off = head.person, swell(head)
    cx, half, top = head.cx, head.half + off, head.crown - off
    if person.hair_style in ("quiff", "mohawk", "spiky"):
        top -= 12
    part = 0.0
    if person.fringe == "side":
        part = (0.45 if person.parting > 0 else -0.45) * half
    points, lines = edge(head), []
    if person.hair_style == "quiff":
        return _combed_up(head, points, count)
    for i in range(count):
        t = 2.0 * (i + 0.5) / count - 1.0
        index = min(len(points) - 1, int((t + 1.0) / 2.0 * len(points)))
        if abs(t) > 0.72 or person.hair_style in LONG:
            end = (cx + t * (half + 1), head.p.eye_y + (50 if person.hair_style in (*LONG, "bob") else 8))
        else:
            end = (points[index][0], points[index][1] + 4)
        lines.append(
            curve(
                (cx + part + 0.12 * t * half, top - 1),
                (cx + 0.5 * part + 0.75 * t * half, top + 5),
                (cx + t * half, top + 24),
                end,
            )
        )
    return lines


def _combed_up(head: Head, points: list[tuple[float, float]], count: int) -> list[skia.Path]:
    """Lines from the hairline up and over to one side."""
    lean = (8.0 if head.person.parting > 0 else -8.0) + 4.0 * head.person.parting
    top, half, lines = head.crown - 22.0, head.half + 4.0, []
    for i in range(count):
        t = 2.0 * (i + 0.5) / count - 1.0
        foot = (head.cx + 0.96 * t * head.half, points[3][1] + 22.0 * t**4 + 3.0)
        lines.append(
            curve(
                foot,
                (head.cx + t * half, foot[1] - 16),
                (head.cx + 0.8 * t * half + lean, top + 10),
                (head.cx + 0.7 * t * half + 2 * lean, top),
            )
        )
    return lines


def _sheen(canvas: Canvas, head: Head) -> None:
    """Strands and shine: soft when realistic, a jagged band in anime, spots in 3d and chibi, ink strokes in comic."""
    style, person = canvas.style, head.person
    rgb = canvas.tint(person.hair_rgb)
    cx, half, top = head.cx, head.half, head.crown - swell(head)
    light = mix(rgb, WHITE, 0.50 if max(rgb) > 0.3 else 0.30)
    curls = person.hair_style == "curly"
    if curls:
        _curls(canvas, head, light)
    elif style == "anime":
        band = [(cx + x * half, top + (9 if i % 2 else 15) + 13 * x * x) for i, x in enumerate(STEPS)]
        back = [(cx + x * half, top + (5 if i % 2 else 7) + 12 * x * x) for i, x in enumerate(STEPS)]
        canvas.flat(polyline(*band, *reversed(back), closed=True), light, 0.9)
        for line in _strands(head, 7):
            canvas.stroke(line, canvas.ink(person.hair_rgb) if max(rgb) > 0.3 else mix(rgb, WHITE, 0.25), 0.8, 0.75)
    elif style == "3d":
        for line in _strands(head, 8):
            canvas.stroke(line, dim(rgb, 0.62), 2.0, 0.40, 0.9)
        canvas.glow(cx + 0.38 * half * canvas.side, top + 9, 0.55 * half, 7.0, WHITE, 0.62)
        canvas.glow(cx - 0.55 * half * canvas.side, top + 14, 0.35 * half, 5.0, WHITE, 0.22)
    elif style == "chibi":
        shine = curve(
            (cx + 0.15 * half * canvas.side, top + 9),
            (cx + 0.5 * half * canvas.side, top + 9),
            (cx + 0.72 * half * canvas.side, top + 19),
        )
        canvas.stroke(shine, light, 4.0, 0.85)
    elif style == "comic":
        for i, line in enumerate(_strands(head, 7)):
            canvas.stroke(line, BLACK if max(rgb) > 0.3 else light, 1.7 if i % 2 else 1.2)
    else:
        canvas.glow(cx + 0.35 * half * canvas.side, top + 15, 0.75 * half, 13.0, light, 0.25 + 0.2 * canvas.strength)
        for i, line in enumerate(_strands(head, 34)):
            canvas.stroke(line, dim(rgb, 0.6) if i % 2 else mix(rgb, WARM, 0.22), 1.1 if i % 2 else 0.8, 0.34 if i % 2 else 0.2)
            if i % 3 == 0:
                t = 2.0 * i / 33 - 1.0
                near = 0.5 + 0.5 * t * canvas.side
                canvas.streak(
                    line,
                    light,
                    1.5,
                    (0.15 + 0.65 * near) * (0.5 + 0.4 * canvas.strength),
                    (top + 5 + 9 * t * t, top + 25 + 12 * t * t),
                )


STEPS = (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8)


def _curls(canvas: Canvas, head: Head, light: tuple[float, float, float]) -> None:
    """Round locks, in rows that follow the skull."""
    cx, half, top, rgb = head.cx, head.half, head.crown - 8.0, canvas.tint(head.person.hair_rgb)
    dark = canvas.ink(head.person.hair_rgb) if not canvas.soft else dim(rgb, 0.7)
    if not canvas.soft and max(rgb) < 0.3:
        dark = mix(rgb, WHITE, 0.28)
    if canvas.style == "chibi":
        dark = mix(rgb, dark, 0.6)
    for row, count in ((0, 5), (1, 6)):
        for i in range(count):
            t = 2.0 * (i + 0.5) / count - 1.0
            x, y = cx + t * (half + 4), top + 3 + 13 * row + 20 * t * t
            arc = curve((x - 6, y + 3), (x - 4, y - 6), (x + 5, y - 5), (x + 5, y + 2), (x, y + 3))
            if canvas.soft:
                canvas.stroke(arc, dark, 2.2, 0.45, 0.8)
                canvas.glow(x + 1.5 * canvas.side, y - 4, 5.5, 4.0, light, 0.5 if canvas.style == "3d" else 0.32)
            else:
                canvas.stroke(arc, dark, 1.8 if canvas.style == "comic" else 1.2)
