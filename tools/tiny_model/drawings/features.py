"""The face's skin: its planes, nose, mouth, ears and marks."""

from __future__ import annotations

import skia

from .canvas import BLACK, WARM, WHITE, Canvas, curve, dim, mix, oval
from .geometry import Head, face_path
from .palettes import LIP_COLOURS

RED = (0.86, 0.22, 0.20)


def planes(canvas: Canvas, head: Head, face: skia.Path) -> None:
    """What makes a lit face round: shadow side, cheekbones, temples, chin, warm and cool parts of the skin."""
    if not canvas.soft:
        return
    person, side, power, real = head.person, canvas.side, canvas.strength, canvas.style == "realistic"
    skin = canvas.tint(person.skin_rgb)
    deep, lit = dim(skin, 0.8), mix(skin, WARM, 0.55)
    cx, half, p = head.cx, head.half, head.p
    mx, my, mouth_half = head.mouth
    chin_x, chin_y = head.chin
    with canvas.clipped(face):
        canvas.glow(cx - 1.02 * half * side, p.eye_y + 12, 0.7 * half, 52, deep, (0.30 if real else 0.18) + 0.28 * power)
        for flank in (-1.0, 1.0):
            away = 1.0 if flank != side else 0.55
            x, y = head.at(flank * (head.eye_u + 13.0), head.down(p.mouth_y - 5.0))
            canvas.glow(x, y, 9.0, 17.0, deep, (0.34 - 0.18 * person.cheeks) * away * (1.0 if real else 0.4))
            x, y = head.at(flank * (head.eye_u + 15.0), p.eye_y - 10.0)
            canvas.glow(x, y, 7.0, 14.0, deep, 0.22 * away)
            x, y = head.at(flank * (head.eye_u + 6.0), head.down(p.nose_y - 2.0))
            canvas.glow(x, y, 13.0, 10.0, mix(skin, RED, 0.42 * max(skin)), 0.34 if real else 0.46)
            canvas.glow(x + 1.5 * side, y - 4.5, 8.0, 5.5, lit, (0.55 if flank == side else 0.18) * (0.4 + 0.6 * power))
        canvas.glow(head.at(0, 0)[0] + 8 * side, head.crown + 25, 20, 15, lit, 0.32 + 0.3 * power)
        canvas.glow(mx, my + 8.0, 0.8 * mouth_half, 3.2, deep, 0.5)
        canvas.glow(chin_x + 1.5 * side, chin_y - 7.0, 8.0, 5.5, lit, 0.20 + 0.16 * power)
        canvas.glow(chin_x - 3.0 * side, chin_y + 2.0, 26.0, 8.0, deep, 0.5)
        canvas.stroke(face, deep, 4.0, 0.30 if real else 0.22, 2.2)
        if not real:  # the light that comes round from behind
            rim = skia.Path(face)
            rim.offset(1.2 * side, 0.0)
            canvas.stroke(rim, mix(skin, WHITE, 0.5), 1.8, 0.30, 0.9)


def nose(canvas: Canvas, head: Head) -> None:
    """The nose: shaded when realistic or 3d, a line or a tick in the drawn styles."""
    person, style = head.person, canvas.style
    x, y = head.nose
    half = 5.6 * (1.0 + 0.38 * person.nose_width)
    if canvas.soft:
        _solid_nose(canvas, head, x, y, half)
    elif style in ("anime", "chibi"):
        _small_nose(canvas, head, x, y, half)
    else:
        _ink_nose(canvas, head, x, y, half)


def _small_nose(canvas: Canvas, head: Head, x: float, y: float, half: float) -> None:
    """A tick on the shadow side, with a spot of shade below it in anime."""
    person, away, size = head.person, -canvas.side, 0.75 if head.small else 1.0
    tip = x + away * (1.2 + 0.22 * half) * size
    inner = x - away * (0.22 + 0.16 * person.nose_tip) * half
    rise = (3.4 + 1.6 * person.nose_length) * size
    line = curve((x + away * 0.3, y - rise), (tip, y - 0.2), (inner, y + 1.6 + 0.5 * person.nose_tip))
    canvas.stroke(line, canvas.ink(person.skin_rgb), 1.7 if head.small else 1.3)
    if not head.small:
        shadow = oval(x + away * 0.5, y + 2.6, 0.42 * half, 1.0 + 0.4 * person.nose_tip)
        canvas.flat(shadow, canvas.shade(canvas.tint(person.skin_rgb)))


def _ink_nose(canvas: Canvas, head: Head, x: float, y: float, half: float) -> None:
    """The bridge on the shadow side, tip and wings, in bold ink."""
    away, round_tip = -canvas.side, head.person.nose_tip
    top_x, top_y = head.at(0.0, head.p.eye_y + 2.0, 4.0)
    drop = 3.0 + 1.2 * round_tip
    line = curve((top_x + away * 3.0, top_y + 3), (x + away * 2.6, 0.5 * (top_y + y)), (x + away * (half - 0.5), y - 2))
    canvas.stroke(line, BLACK, 1.5)
    base = curve((x + away * half, y - 2), (x + away * (half + 1.6), y + 2.6), (x + away * 0.5 * half, y + 1.6), (x, y + drop))
    canvas.stroke(base, BLACK, 2.2)
    wing = curve((x, y + drop), (x - away * 0.5 * half, y + 1.6), (x - away * (half + 0.6), y + 2.4), (x - away * half, y - 1))
    canvas.stroke(wing, BLACK, 1.8)
    side = curve(
        (top_x + away * 3, top_y + 6), (x + away * (half + 4.5), y - 2), (x + away * (half + 1), y + 2), (x + away * 2, y - 3)
    )
    canvas.skia_canvas.drawPath(side, canvas.dots(mix(canvas.tint(head.person.skin_rgb), BLACK, 0.6)))


def _solid_nose(canvas: Canvas, head: Head, x: float, y: float, half: float) -> None:
    """Bridge, tip and wings by light and shadow alone."""
    person, side, real = head.person, canvas.side, canvas.style == "realistic"
    skin = canvas.tint(person.skin_rgb)
    shade, lit = dim(skin, 0.72), mix(skin, WARM, 0.6)
    top_x, top_y = head.at(0.0, head.p.eye_y - 3.0, 5.0)
    mid_x, mid_y = 0.45 * top_x + 0.55 * x, 0.45 * top_y + 0.55 * y
    tip = 4.2 * (1.0 + 0.28 * person.nose_tip + 0.25 * person.nose_width) * (1.0 if real else 1.15)
    width = 1.0 + 0.2 * person.nose_width
    if real:
        flank = curve((top_x - 4.2 * side, top_y - 4), (mid_x - 3.4 * side * width, mid_y), (x - (half + 0.6) * side, y - 1.5))
        canvas.stroke(flank, shade, 4.2, 0.42, 1.5)
        other = curve((top_x + 4.2 * side, top_y - 4), (mid_x + 3.6 * side * width, mid_y), (x + half * side, y - 1.5))
        canvas.stroke(other, shade, 2.2, 0.18, 1.1)
    canvas.glow(x - 1.5 * side, y + 5.2, half + 5.5, 4.6, shade, 0.62)
    for flank_side in (-1.0, 1.0):
        wing_x = x + flank_side * half * 0.92
        canvas.glow(wing_x, y + 0.6, 0.62 * half, 3.8, mix(skin, RED, 0.18) if flank_side == side else dim(skin, 0.30), 0.8)
        if real:
            wing = curve(
                (wing_x + 0.1 * flank_side, y - 2.6), (wing_x + flank_side * 3.0, y + 0.8), (wing_x + 0.4 * flank_side, y + 3.2)
            )
            canvas.stroke(wing, shade, 1.1, 0.65, 0.4)
        canvas.flat(oval(x + flank_side * half * 0.50, y + 2.8, 1.8, 1.05), dim(skin, 1.0), 0.8 if real else 0.6, 0.35)
    canvas.glow(x, y - 0.6, 1.5 * tip, 1.25 * tip, mix(skin, RED, 0.10) if real else mix(skin, RED, 0.16), 0.75)
    ridge = curve((top_x + 0.6 * side, top_y), (mid_x + 0.8 * side, mid_y), (x + 1.0 * side, y - 2))
    canvas.stroke(ridge, lit, 2.4 * width, 0.34 + 0.2 * canvas.strength, 1.1)
    canvas.glow(x + 1.3 * side, y - 1.8, 0.62 * tip, 0.55 * tip, WHITE, 0.32 + 0.25 * canvas.strength if real else 0.8)


def mouth(canvas: Canvas, head: Head) -> tuple[tuple[float, float], tuple[float, float]]:
    """Draws the mouth and returns its two corners, the image-left one first."""
    person, view, style = head.person, head.view, canvas.style
    x, y, half = head.mouth
    small = 0.8 if style in ("chibi", "anime") else 1.0
    corner = y - (3.7 if view.smile > 0 else 2.6) * small * view.smile
    gape = 8.5 * view.mouth_open * (0.85 if style == "chibi" else 1.0)
    low, high = y + 2.6 * small * max(view.smile, -0.6) + gape, y + 1.2 * view.smile - 0.12 * gape
    lip = _lip_colour(canvas, head)
    full = 3.1 * (1.0 + 0.5 * person.lip_fullness) * {"anime": 0.5, "chibi": 0.5}.get(style, 1.0)
    if person.lipstick or style in ("realistic", "3d", "comic"):
        _lips(canvas, (x, half, corner, high, low), lip, full)
    line = skia.Path()
    line.moveTo(x - half, corner)
    line.quadTo(x, 2.0 * high - corner, x + half, corner)
    dark = BLACK if style == "comic" else (0.26, 0.06, 0.08)
    if gape > 0.9:
        _inside(canvas, x, half, corner, high, low)
    canvas.stroke(
        line, dark, {"realistic": 1.2, "3d": 1.4, "comic": 2.4, "anime": 1.7}.get(style, 2.1), 0.85 if canvas.soft else 1.0
    )
    if canvas.soft:
        for side in (-1.0, 1.0):
            canvas.glow(x + side * (half + 0.6), corner + 0.4, 2.6, 2.6, dim(canvas.tint(person.skin_rgb), 0.8), 0.6)
    else:
        reach, under = (0.26 + 0.12 * person.lip_fullness) * half, low + 1.6 * full + (2.6 if style == "comic" else 1.6)
        below = curve((x - reach, under), (x, under + 1.0), (x + reach, under))
        canvas.stroke(below, BLACK if style == "comic" else canvas.ink(person.skin_rgb), 1.5 if style == "comic" else 0.9)
    return (x - half, corner), (x + half, corner)


def _lips(
    canvas: Canvas, place: tuple[float, float, float, float, float], lip: tuple[float, float, float], full: float
) -> None:
    """Upper lip darker, lower lip lighter with a highlight; `place` is the mouth's x, half width, corner, high and low."""
    x, half, corner, high, low = place
    soft = 0.45 if canvas.style == "realistic" else 0.0
    upper, lower = skia.Path(), skia.Path()
    upper.moveTo(x - half, corner)
    upper.cubicTo(x - 0.55 * half, high - full * 1.1, x - 0.2 * half, high - full * 1.75, x, high - full * 0.85)
    upper.cubicTo(x + 0.2 * half, high - full * 1.75, x + 0.55 * half, high - full * 1.1, x + half, corner)
    upper.quadTo(x, 2.0 * high - corner, x - half, corner)
    lower.moveTo(x - half, corner)
    lower.cubicTo(x - 0.5 * half, low + full * 1.75, x + 0.5 * half, low + full * 1.75, x + half, corner)
    lower.quadTo(x, 2.0 * high - corner, x - half, corner)
    canvas.flat(lower, lip, 1.0, soft)
    canvas.flat(upper, dim(lip, 0.26) if canvas.soft else mix(lip, BLACK, 0.14), 1.0, soft)
    if canvas.look.outline:
        both = skia.Path(upper)
        both.addPath(lower)
        canvas.outline(both, mix(lip, BLACK, 0.3), 0.45)
    canvas.gloss(x + 1.6 * canvas.side, low + full * 0.62, 0.36 * half, 0.36 * full, 0.9)


def _inside(canvas: Canvas, x: float, half: float, corner: float, high: float, low: float) -> None:
    """An open mouth: dark, with upper teeth and tongue."""
    hole = skia.Path()
    hole.moveTo(x - half, corner)
    hole.quadTo(x, 2.0 * high - corner, x + half, corner)
    hole.quadTo(x, 2.0 * low - corner, x - half, corner)
    canvas.flat(hole, (0.24, 0.04, 0.06))
    with canvas.clipped(hole):
        canvas.flat(oval(x, low + 1.2, 0.55 * half, 4.2), (0.84, 0.36, 0.38))
        teeth = skia.Path()
        teeth.moveTo(x - half, corner - 5)
        teeth.lineTo(x + half, corner - 5)
        teeth.lineTo(x + half, corner)
        teeth.quadTo(x, 2.0 * high - corner + 5.0, x - half, corner)
        teeth.close()
        canvas.flat(teeth, (0.95, 0.94, 0.92) if canvas.soft else WHITE)
    canvas.outline(hole, (0.4, 0.1, 0.1), 0.5)


def _lip_colour(canvas: Canvas, head: Head) -> tuple[float, float, float]:
    """The lips' colour: lipstick's, or the skin's, redder."""
    person = head.person
    natural = mix(person.skin_rgb, (0.66, 0.20, 0.22), 0.38)
    return canvas.tint(mix(natural, LIP_COLOURS[person.lip_colour], 0.78 * person.lipstick))


def ears(canvas: Canvas, head: Head) -> None:
    """Both ears, the one the face turns towards hidden in part."""
    size = (1.0 + 0.32 * head.person.ear_size) * (0.8 if head.small else 1.0)
    skin = mix(head.person.skin_rgb, RED, 0.09)
    for side in (-1.0, 1.0):
        x = head.cx + side * (head.half + 0.2) - 5.0 * head.view.yaw * (1.0 if side * head.view.yaw > 0 else 0.3)
        y = head.p.eye_y + 8.0 - 3.0 * head.view.pitch
        path = skia.Path()
        path.moveTo(x - side * 4, y - 9 * size)
        path.cubicTo(x + side * 4 * size, y - 15 * size, x + side * 9 * size, y - 6 * size, x + side * 6 * size, y + 2 * size)
        path.cubicTo(x + side * 5 * size, y + 8 * size, x + side * 2 * size, y + 12 * size, x - side * 3, y + 9 * size)
        path.close()
        canvas.shape(path, skin, 3.0)
        fold = curve(
            (x + side * 0.5, y - 7 * size),
            (x + side * 6 * size, y - 9 * size),
            (x + side * 3.2 * size, y + 1),
            (x + side, y + 4 * size),
        )
        tone = canvas.ink(skin) if not canvas.soft else dim(canvas.tint(skin), 0.6)
        canvas.stroke(fold, tone, 1.1 if not canvas.soft else 1.6, 0.8 if not canvas.soft else 0.5, 0.7 if canvas.soft else 0.0)


def marks(canvas: Canvas, head: Head) -> None:
    """Blush, freckles, a mole, a scar and the lines of age."""
    person, style = head.person, canvas.style
    skin = canvas.tint(person.skin_rgb)
    amount = max(person.blush * 0.6, 0.8 if style == "chibi" else 0.0, 0.3 if style in ("3d", "anime") else 0.0)
    for side in (-1.0, 1.0):
        x, y = head.at(side * (head.eye_u + 5.0), head.down(head.p.nose_y) + (1.5 if not head.small else 3.0))
        if amount > 0.1 and style != "comic":
            pink = mix(skin, (0.98, 0.30, 0.36), 0.62 * max(skin))
            if style == "chibi":
                canvas.flat(oval(x, y, 7.0, 4.4), pink, 0.6)
            else:
                canvas.glow(x, y, 12.0, 8.0, pink, amount)
        if person.freckles:
            for du, dv in ((-6, -2), (-1.5, -4), (-3, 1), (2, -0.5), (5.5, -3.5), (4.5, 2.5)):
                dot = head.at(side * (head.eye_u - 1.0 + du), head.down(head.p.nose_y) - 1.5 + dv)
                canvas.flat(oval(*dot, 1.0, 1.0), mix(skin, (0.42, 0.17, 0.06), 0.7), 0.85)
    if person.mole:
        side = 1.0 if person.mark_place > 0 else -1.0
        place = (
            head.at(side * (0.62 * head.eye_u), head.down(head.p.mouth_y) - 4.5)
            if abs(person.mark_place) > 0.5
            else head.at(side * (head.eye_u + 6.0), head.down(head.p.nose_y) + 3.0)
        )
        canvas.flat(oval(*place, 1.7, 1.7), dim(mix(skin, (0.30, 0.12, 0.06), 0.75), 0.3))
    if person.scar:
        _scar(canvas, head, -1.0 if person.mark_place > 0 else 1.0)
    if person.age > 0.2:
        _wrinkles(canvas, head)


def _scar(canvas: Canvas, head: Head, side: float) -> None:
    """A line across one cheek."""
    start = head.at(side * (head.eye_u + 9.0), head.p.eye_y + 13.0)
    end = head.at(side * (head.eye_u + 2.0), head.down(head.p.mouth_y) - 6.0)
    skin = canvas.tint(head.person.skin_rgb)
    path = curve(start, (0.5 * (start[0] + end[0]) + 1.5 * side, 0.5 * (start[1] + end[1])), end)
    canvas.stroke(path, dim(mix(skin, RED, 0.35), 0.35), 2.4, 0.9)
    canvas.stroke(path, mix(skin, (1.0, 0.75, 0.72), 0.6), 1.0, 0.9)


def _wrinkles(canvas: Canvas, head: Head) -> None:
    """Folds from nose to mouth, crow's feet and lines on the forehead."""
    age, soft = head.person.age, 0.55 if canvas.soft else 0.0
    skin = canvas.tint(head.person.skin_rgb)
    shade = dim(skin, 0.62) if canvas.soft else canvas.ink(head.person.skin_rgb)
    width, alpha = 0.8 + 0.8 * age, (0.4 + 0.5 * age) * (0.45 if head.small else 1.0 if canvas.soft else 0.8)
    mouth_y, nose_y, p = head.mouth[1], head.nose[1], head.p
    for side in (-1.0, 1.0):
        reach = head.mouth[2]
        fold = curve(
            head.at(side * 8.0, nose_y - 5.0 * head.view.pitch),
            head.at(side * (reach + 2.0), mouth_y - 9.0 - 5 * head.view.pitch),
            head.at(side * (reach + 3.0), mouth_y - 5 * head.view.pitch),
        )
        canvas.stroke(fold, shade, width, alpha, soft)
        if age > 0.45:
            corner = head.eye_u + head.eye_half[0]
            for lift in (-2.5, 2.0):
                line = curve(
                    head.at(side * (corner + 2.5), p.eye_y + 0.3 * lift), head.at(side * (corner + 7.0), p.eye_y + 1.3 * lift)
                )
                canvas.stroke(line, shade, 0.8, alpha, 0.3 if soft else 0.0)
    for row in (0.32, 0.62) if age > 0.45 else (0.4,):
        y = head.brow_y - 4.0 + (head.hairline - head.brow_y + 4.0) * row
        canvas.stroke(
            curve(head.at(-13.0, y + 1.0, 2.0), head.at(0.0, y - 1.2, 4.0), head.at(13.0, y + 1.0, 2.0)),
            shade,
            width,
            0.8 * alpha,
            soft,
        )


def shadow_under_chin(canvas: Canvas, head: Head, neck: skia.Path) -> None:
    """What the head casts on the neck."""
    canvas.cast(face_path(head), neck, head.person.skin_rgb, 7.0 if not canvas.soft else 5.0)
    if canvas.soft:
        with canvas.clipped(neck):
            x, y = head.chin
            canvas.glow(x, y + 1.0, 30.0, 13.0, dim(canvas.tint(head.person.skin_rgb), 0.95), 0.75)
