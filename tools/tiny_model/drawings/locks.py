"""The outlines of hair: what of a hair style lies behind the head, on the skull, and over the shoulders."""

from __future__ import annotations

import math
from itertools import pairwise

import skia

from .canvas import bend, curve, oval
from .geometry import Head, face_path

LONG = ("long", "wavy")
TIED = ("bun", "ponytails", "braid")
POINTED = ("anime", "comic", "chibi")  # styles whose fringes end in clumps


def swell(head: Head) -> float:
    """How far the hair stands off the skull."""
    style, volume = head.person.hair_style, head.person.hair_volume
    if style == "buzz":
        return 1.2
    return {"bob": 6.5, "long": 6.0, "wavy": 8.0, "short": 5.5, "quiff": 4.5}.get(style, 4.0) + 2.8 * volume


def low_end(head: Head) -> float:
    """How far down long hair and bobs reach."""
    length = head.person.hair_length
    if head.person.hair_style == "bob":
        return head.down(head.p.mouth_y) + 6.0 + 10.0 * length
    return 142.0 + 14.0 * length


def back_mass(head: Head) -> skia.Path | None:
    """The hair behind the head and shoulders."""
    style, cx, half, top = head.person.hair_style, head.cx - 2.0 * head.view.yaw, head.half, head.crown
    if style == "curly":
        return cloud(head)
    if style not in (*LONG, "bob"):
        return None
    bottom, off = low_end(head), swell(head)
    wide = half + off + (6.0 if style == "bob" else 4.0) + 2.5 * head.person.hair_volume
    tip = wide - (5.0 if style == "bob" else 2.0)
    path = skia.Path()
    for side in (1.0, -1.0):
        path.moveTo(cx, top - off)
        path.cubicTo(
            cx + side * 0.75 * half, top - off, cx + side * (half + off), top + 8, cx + side * (half + off), head.p.eye_y
        )
        if style == "wavy":
            _waves(path, cx, wide, head.p.eye_y, bottom, side)
        else:
            path.cubicTo(cx + side * wide, head.p.eye_y + 20, cx + side * (wide + 2), bottom - 12, cx + side * tip, bottom)
        if head.style in POINTED:
            for i, (dx, dy) in enumerate(((5, -7), (12, 3), (19, -5), (27, 4), (33, -4))):
                path.quadTo(cx + side * (tip - dx + 2), bottom + (0 if i % 2 else dy), cx + side * (tip - dx), bottom + dy)
            path.lineTo(cx, bottom)
        else:
            path.quadTo(cx + side * (tip - 9.0), bottom + 4, cx, bottom + 2)
        path.close()
    return skia.Simplify(path)


def _waves(path: skia.Path, cx: float, wide: float, top: float, bottom: float, side: float) -> None:
    """A side that swings in and out on its way down."""
    count = 3
    step = (bottom - top) / count
    for i in range(count):
        y = top + i * step
        path.quadTo(cx + side * (wide + 13), y + 0.4 * step, cx + side * (wide + 1), y + step)


def cloud(head: Head) -> skia.Path:
    """The afro's whole silhouette: a scalloped ellipse."""
    volume = head.person.hair_volume
    cx, cy = head.cx - 2.0 * head.view.yaw, head.p.eye_y - 15.0 + 3.0 * head.person.hair_length
    rx, ry = head.half + 9.0 + 5.5 * volume, 41.0 + 4.0 * volume
    bumps, path = 15, skia.Path()
    for i in range(bumps + 1):
        angle = 2.0 * math.pi * i / bumps + 0.2
        x, y = cx + rx * math.cos(angle), cy + ry * math.sin(angle)
        if i == 0:
            path.moveTo(x, y)
            continue
        middle = angle - math.pi / bumps
        path.quadTo(cx + (rx + 11) * math.cos(middle), cy + (ry + 11) * math.sin(middle), x, y)
    path.close()
    return path


def cap(head: Head) -> skia.Path:
    """The hair on the skull with the face's window cut out."""
    style, p, cx = head.person.hair_style, head.p, head.cx
    if style == "curly":
        return skia.Op(cloud(head), _window(head, p.eye_y + 30.0), skia.PathOp.kDifference_PathOp)
    if style == "receding":
        return _wreath(head)
    off = swell(head)
    half, top = head.half + 0.7 * off, head.crown - off
    low = p.eye_y + {"short": 6.0 + 5.0 * head.person.hair_length, "buzz": 2.0, "bob": 0.0}.get(style, 2.0)
    if style in LONG or style == "bob":
        low = min(low_end(head) - 4.0, head.chin[1] + 12.0 + 14.0 * head.person.hair_length)
    outer = skia.Path()
    outer.moveTo(cx - half + 3.0, low)
    outer.quadTo(cx - half, low - 2, cx - half, low - 8)
    if style == "spiky":
        _spikes(outer, head, half, top)
    elif style == "quiff":
        _quiff(outer, head, half, top)
    else:
        lean = 0.0 if style in ("buzz", *TIED) else (3.0 if head.person.parting > 0 else -3.0) + 2.0 * head.person.parting
        outer.lineTo(cx - half, p.eye_y - 2)
        outer.cubicTo(cx - half, top + 17 - lean, cx - 0.64 * half, top - lean, cx - lean, top)
        outer.cubicTo(cx + 0.64 * half, top + lean, cx + half, top + 17 + lean, cx + half, p.eye_y - 2)
    if style in LONG or style == "bob":
        tip = 4.0 if style == "bob" else 0.0
        outer.quadTo(cx + half + 5, 0.5 * (low + p.eye_y), cx + half - tip, low)
        outer.lineTo(cx - half + tip, low)
        outer.quadTo(cx - half - 5, 0.5 * (low + p.eye_y), cx - half, p.eye_y - 2)
    else:
        outer.lineTo(cx + half, low - 8)
        outer.quadTo(cx + half, low - 2, cx + half - 3.0, low)
    outer.close()
    return skia.Op(outer, _window(head, low), skia.PathOp.kDifference_PathOp)


def _wreath(head: Head) -> skia.Path:
    """Hair about the ears alone."""
    top, low, off = head.crown + 17.0 - 5.0 * head.person.hairline, head.p.eye_y + 9.0, 2.5 + 1.5 * head.person.hair_volume
    path = skia.Path()
    for side in (-1.0, 1.0):
        x = head.cx + side * head.half
        path.moveTo(x - side * 3.5, low)
        path.cubicTo(x - side * 3, low - 14, x - side * 8, top + 16, x - side * 13, top + 3)
        path.cubicTo(x - side * 10, top - 6, x + side * (off - 2), top + 2, x + side * off, top + 22)
        path.quadTo(x + side * (off + 1), low - 12, x + side * (off - 1), low)
        path.close()
    return path


def _spikes(path: skia.Path, head: Head, half: float, top: float) -> None:
    """Spikes fanning out over the skull, from left to right."""
    count, centre_y, cx = 7, top + 40.0, head.cx
    tall = 14.0 + 5.0 * head.person.hair_volume
    lean = 0.14 * head.person.parting
    for i in range(count):
        angle = math.pi * (1.0 - (i + 0.5) / count) - lean
        valley = math.pi * (1.0 - (i + 1.0) / count)
        path.lineTo(cx + (half + tall) * math.cos(angle), centre_y - (39 + tall) * math.sin(angle))
        if i < count - 1:
            path.lineTo(cx + (half + 1) * math.cos(valley), centre_y - 38 * math.sin(valley))
    path.lineTo(cx + half, head.p.eye_y)


def _quiff(path: skia.Path, head: Head, half: float, top: float) -> None:
    """Short sides and a wave that rises over the forehead, to one side."""
    cx, lean = head.cx, 1.0 if head.person.parting > 0 else -1.0
    rise = 17.0 + 5.0 * head.person.hair_volume
    tight = head.half + 1.2
    ears = head.p.eye_y - 6
    left, right = (0.35, 1.0) if lean > 0 else (1.0, 0.35)
    path.lineTo(cx - tight, ears)
    path.cubicTo(cx - tight - 1, top + 26, cx - 0.98 * half, top + 16, cx - 0.86 * half, top + 6 - left * 10)
    path.cubicTo(cx - 0.80 * half, top - left * rise, cx - 0.35 * half, top - left * rise - 6, cx, top - 0.72 * rise)
    path.cubicTo(
        cx + 0.35 * half, top - right * rise - 6, cx + 0.80 * half, top - right * rise, cx + 0.86 * half, top + 6 - right * 10
    )
    path.cubicTo(cx + 0.98 * half, top + 16, cx + tight + 1, top + 26, cx + tight, ears)


def edge(head: Head) -> list[tuple[float, float]]:
    """The hair's border over the forehead, from the image's left to its right."""
    person, style = head.person, head.person.hair_style
    cx, fx = head.cx, head.cx + 7.0 * head.view.yaw
    inner = head.half - (5.0 if style in LONG or style == "bob" else 2.5)
    line, brow, ear = head.hairline, head.brow_y, head.p.eye_y
    part = 0.42 * (1.0 if person.parting > 0 else -1.0) + 0.16 * person.parting
    if person.fringe == "straight":
        heights = [ear + 1, brow - 1, brow - 2.5, brow - 3, brow - 2.5, brow - 1, ear + 1]
        places = [-1.0, -0.86, -0.45, 0.0, 0.45, 0.86, 1.0]
    elif person.fringe == "side":
        heights = [ear + 4, brow + 3, brow - 3, brow - 7, line - 2, brow - 12, ear]
        places = [-1.0, -0.82, -0.45, -0.05, 0.5, 0.88, 1.0]
        if part < 0:
            heights, places = heights[::-1], [-place for place in places[::-1]]
        heights[4 if part > 0 else 2] = line - 3
    elif person.fringe == "curtain":
        heights = [ear + 10, brow + 4, brow - 7, line - 4, brow - 7, brow + 4, ear + 10]
        places = [-1.0, -0.78, -0.40, 0.0, 0.40, 0.78, 1.0]
    else:
        peak = 2.5 if person.parting > 0.4 else -1.0
        heights = [ear - 4, line + 11, line + 1, line + peak, line + 1, line + 11, ear - 4]
        places = [-1.0, -0.90, -0.50, 0.0, 0.50, 0.90, 1.0]
    shift = 1.0 if person.fringe in ("side", "curtain") else 0.4
    off = part if person.fringe == "curtain" else 0.0
    return [
        (cx + place * inner + (1.0 - abs(place)) * ((fx - cx) + shift * off * 10.0), height)
        for place, height in zip(places, heights, strict=True)
    ]


def _window(head: Head, low: float) -> skia.Path:
    """The face as it is free of hair: below the edge, down past the chin."""
    points = edge(head)
    person = head.person
    path = skia.Path()
    locks = low > head.p.eye_y + 20 and person.hair_style != "curly"
    path.moveTo(points[0][0], 190)
    if locks:  # taper to points outside
        path.lineTo(head.cx - head.half - 16, 190)
        path.lineTo(head.cx - head.half - 7, low + 1)
        path.quadTo(points[0][0] + 2.0, 0.45 * low + 0.55 * points[0][1], *points[0])
    else:
        path.lineTo(*points[0])
    clumps = head.style in POINTED and person.fringe != "none" and person.hair_style != "curly"
    if clumps:
        _clumps(path, points, {"anime": 6.5, "chibi": 3.0}.get(head.style, 4.5))
    else:
        bend(path, *points[1:])
    if locks:
        path.quadTo(points[-1][0] - 2.0, 0.45 * low + 0.55 * points[-1][1], head.cx + head.half + 7, low + 1)
        path.lineTo(head.cx + head.half + 16, 190)
    path.lineTo(points[-1][0], 190)
    path.close()
    return path


def _clumps(path: skia.Path, points: list[tuple[float, float]], height: float) -> None:
    """Goes on along the points in pointed locks, long and short by turns, with clefts of that height between."""
    count = 8
    tips = []
    for i in range(count + 1):
        k = min(int(i * (len(points) - 1) / count), len(points) - 2)
        rest = i * (len(points) - 1) / count - k
        (x0, y0), (x1, y1) = points[k], points[k + 1]
        nx, ny = _inward(points[k], points[k + 1])
        out = 0.0 if i in (0, count) else (0.35 if i % 2 else -0.2) * height
        tips.append((x0 + rest * (x1 - x0) - out * nx, y0 + rest * (y1 - y0) - out * ny))
    for (x0, y0), (x1, y1) in pairwise(tips):
        nx, ny = _inward((x0, y0), (x1, y1))
        nx, ny = height * nx, height * ny
        path.quadTo(
            0.64 * x0 + 0.36 * x1 + 0.3 * nx, 0.64 * y0 + 0.36 * y1 + 0.3 * ny, 0.5 * (x0 + x1) + nx, 0.5 * (y0 + y1) + ny
        )
        path.quadTo(0.36 * x0 + 0.64 * x1 + 0.3 * nx, 0.36 * y0 + 0.64 * y1 + 0.3 * ny, x1, y1)


def _inward(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """The direction into the hair, of length 1, at a border that runs from the image's left to its right."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    return dy / length, -dx / length


def mohawk(head: Head) -> skia.Path:
    """One tall crest."""
    top, cx, fx = head.crown, head.cx, head.cx + 6.0 * head.view.yaw
    wide, tall = 13.0 + 3.0 * head.person.hair_volume, 17.0 + 5.0 * head.person.hair_length
    path = skia.Path()
    path.moveTo(fx - 0.7 * wide, top + 20)
    path.cubicTo(cx - wide - 2, top + 4, cx - wide - 5, top - 6, cx - wide - 5, top - 8)
    for i, t in enumerate((-0.8, -0.56, -0.28, 0.0, 0.28, 0.56, 0.8)):
        path.lineTo(cx + t * (wide + 4), top - (tall if i % 2 else tall - 7) + 8 * t * t)
    path.lineTo(cx + wide + 5, top - 8)
    path.cubicTo(cx + wide + 5, top - 6, cx + wide + 2, top + 4, fx + 0.7 * wide, top + 20)
    path.quadTo(fx, top + 27, fx - 0.7 * wide, top + 20)
    path.close()
    return path


def tail(head: Head, side: float) -> skia.Path:
    """One ponytail: a drop that swings out and down from the temple."""
    x, y = head.cx - 2.0 * head.view.yaw + side * (head.half + 1), head.p.eye_y - 20
    long, fat = 58.0 + 16.0 * head.person.hair_length, 1.0 + 0.22 * head.person.hair_volume
    path = skia.Path()
    path.moveTo(x - 4 * side, y)
    path.cubicTo(x + 14 * side * fat, y - 20, x + 33 * side * fat, y + 10, x + 17 * side, y + long)
    path.cubicTo(x + 8 * side, y + 0.85 * long, x - 5 * side, y + 0.6 * long, x - 4 * side, y + 14)
    path.close()
    return path


def tress(head: Head) -> skia.Path:
    """What goes from the nape to the plait."""
    side = 1.0 if head.person.parting > 0 else -1.0
    x, y = head.cx + side * (head.half - 1), head.down(head.p.mouth_y)
    path = skia.Path()
    path.moveTo(head.cx, head.p.eye_y)
    path.cubicTo(x + side * 8, head.p.eye_y, x + side * 12, y - 10, x + side * 8, y + 8)
    path.lineTo(x - side * 9, y + 6)
    path.lineTo(head.cx, y)
    path.close()
    return path


def braid(head: Head) -> list[skia.Path]:
    """A plait over one shoulder, the loose end first: leaves that lie left and right by turns."""
    side = 1.0 if head.person.parting > 0 else -1.0
    fat = 1.0 + 0.2 * head.person.hair_volume
    x, y = head.cx + side * (head.half - 1), head.down(head.p.mouth_y) + 2.0
    parts = []
    for i in range(7):
        lies = 1.0 if i % 2 else -1.0
        leaf, turn = oval(0.0, 0.0, 8.0 * fat, 5.4), skia.Matrix()
        turn.setRotate(42.0 * lies)
        turn.postTranslate(x + side * 0.9 * i - 2.8 * lies * fat, y + 6.6 * i)
        leaf.transform(turn)
        parts.append(leaf)
    end = curve(
        (x + 3 * side, y + 38),
        (x + 7 * side - 9, y + 56),
        (x + 7 * side, y + 64),
        (x + 7 * side + 9, y + 56),
        (x + 9 * side, y + 38),
    )
    end.close()
    return [end, *reversed(parts)]


def bun(head: Head) -> skia.Path:
    """A knot on the crown."""
    fat = 1.0 + 0.22 * head.person.hair_volume
    return oval(head.cx + head.view.yaw, head.crown - 9, 15.5 * fat, 13.0 * fat)


def skull(head: Head) -> skia.Path:
    """The shaved part of a head."""
    return face_path(head, 0.4)
