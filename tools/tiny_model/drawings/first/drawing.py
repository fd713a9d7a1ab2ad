"""Draws one person in one view and style as a square picture, with the five points that a face detector would find."""

from __future__ import annotations

import numpy as np
import skia

from . import features
from .canvas import BLACK, WHITE, Canvas, argb, halftone, mix, oval
from .geometry import Head, face_path, make_head
from .hair import back_hair, front_hair
from .person import STYLES, Person, View

SIZE = 128


def draw(person: Person, view: View, style: str, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The picture, RGB uint8 [size, size, 3], and its keypoints, float32 [5, 2] in pixels (x, y).

    The points are InsightFace's: image-left eye, image-right eye, nose tip, image-left and image-right mouth corner.
    """
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; one of {', '.join(STYLES)}")
    pixels = np.zeros((size, size, 4), np.uint8)
    scale = size / SIZE
    with skia.Surface(pixels, colorType=skia.kRGBA_8888_ColorType) as skia_canvas:
        skia_canvas.scale(scale, scale)
        canvas = Canvas(skia_canvas, style, view.light, view.light_strength)
        _background(canvas, view)
        placed = _placement(view)
        skia_canvas.concat(placed)
        points = _portrait(canvas, make_head(person, view, style))
    mapped = [placed.mapXY(*point) for point in points]
    keypoints = np.asarray([(point.fX, point.fY) for point in mapped], np.float32) * np.float32(scale)
    return np.ascontiguousarray(pixels[..., :3]), keypoints


def _placement(view: View) -> skia.Matrix:
    """Roll and zoom about the face's middle, then the shift."""
    matrix = skia.Matrix()
    matrix.setRotate(view.roll, 64.0, 74.0)
    matrix.postScale(view.zoom, view.zoom, 64.0, 74.0)
    matrix.postTranslate(view.dx, view.dy)
    return matrix


def _background(canvas: Canvas, view: View) -> None:
    """The style's backdrop in the view's colour."""
    skia_canvas, style = canvas.skia_canvas, canvas.style
    rgb = canvas.tint(view.background_rgb)
    skia_canvas.clear(argb(rgb))
    if style in ("realistic", "3d"):
        dark = mix(rgb, BLACK, 0.42 if style == "realistic" else 0.32)
        bright = mix(rgb, WHITE, 0.10 if style == "realistic" else 0.38)
        centre = skia.Point(64 + 40 * canvas.lean, 36) if style == "realistic" else skia.Point(64, 60)
        shader = skia.GradientShader.MakeRadial(
            centre, 112 if style == "realistic" else 88, [argb(bright), argb(rgb), argb(dark)]
        )
        skia_canvas.drawPaint(skia.Paint(Shader=shader))
    elif style == "anime":
        band = skia.Path()
        band.addPoly([skia.Point(128, 0), skia.Point(128, 128), skia.Point(52, 128)], True)
        canvas.flat(band, mix(rgb, WHITE, 0.22))
    elif style == "chibi":
        for x, y, r in ((14, 20, 9), (116, 30, 11), (20, 100, 11), (110, 104, 8), (66, 6, 8)):
            canvas.flat(oval(x, y, r, r), mix(rgb, WHITE, 0.45))
    else:
        corner = skia.Path()
        far = 128 if canvas.side < 0 else 0
        corner.addPoly([skia.Point(far, 10), skia.Point(far, 128), skia.Point(128 - far, 128)], True)
        skia_canvas.drawPath(corner, skia.Paint(AntiAlias=True, Shader=halftone(argb(mix(rgb, BLACK, 0.55)))))


def _portrait(canvas: Canvas, head: Head) -> list[tuple[float, float]]:
    """Everything of the person from back to front; returns the five points before placement."""
    back_hair(canvas, head)
    _body(canvas, head)
    features.ears(canvas, head)
    face = face_path(head)
    canvas.shape(face, head.person.skin_rgb, 9.0)
    canvas.gloss(head.cx + 7 * head.view.yaw + 9 * canvas.side, head.p.crown + 21, 11.0, 6.5, 0.75)
    features.marks(canvas, head)
    _planes(canvas, head, face)
    features.beard(canvas, head)
    corners = features.mouth(canvas, head)
    features.nose(canvas, head)
    eyes = features.eyes(canvas, head)
    front_hair(canvas, head)
    features.brows(canvas, head)
    features.glasses(canvas, head)
    return [*eyes, head.nose, *corners]


def _planes(canvas: Canvas, head: Head, face: skia.Path) -> None:
    """What makes a realistic face round: a darker rim and hollows in the cheeks and under the lip."""
    if canvas.style != "realistic":
        return
    shade = mix(canvas.tint(head.person.skin_rgb), (0.20, 0.03, 0.04), 0.55)
    x, y, half = head.mouth
    skia_canvas = canvas.skia_canvas
    skia_canvas.save()
    skia_canvas.clipPath(face, skia.ClipOp.kIntersect, True)
    canvas.stroke(face, shade, 8.0, 0.5, 3.5)
    canvas.flat(oval(x, y + 9.5, 0.6 * half, 2.6), shade, 0.5, 1.8)
    for side in (-1.0, 1.0):
        hollow = head.at(side * (head.eye_u + 12.0), head.p.mouth_y - 5.0)
        canvas.flat(oval(*hollow, 6.0, 11.0), shade, 0.45 if side == canvas.side else 0.65, 4.0)
    skia_canvas.restore()


def _body(canvas: Canvas, head: Head) -> None:
    """Neck and shoulders; in chibi a small whole body."""
    person, view, chibi = head.person, head.view, canvas.style == "chibi"
    x = 64.0 + 2.0 * view.yaw
    wide = (15.0 if person.gender == "woman" else 19.0) * (0.55 if chibi else 1.0)
    shoulder = (24.0 if chibi else 54.0) + (4.0 if person.gender == "man" else 0.0) * (0.4 if chibi else 1.0)
    top = head.p.chin - 16.0
    neck = skia.Path()
    neck.addRect(skia.Rect.MakeLTRB(x - wide, top, x + wide, 150.0))
    canvas.shape(neck, mix(person.skin_rgb, BLACK, 0.10), 8.0)
    if canvas.style in ("realistic", "3d"):
        canvas.flat(oval(head.chin[0], head.chin[1] + 2.0, wide + 4, 7.0), (0.12, 0.03, 0.03), 0.45, 3.0)
    neck_y = 103.0 if chibi else 118.0
    clothes = skia.Path()
    clothes.moveTo(x - shoulder, 160)
    clothes.cubicTo(x - shoulder, neck_y + 8, x - shoulder * 0.8, neck_y + 3, x - wide - 3, neck_y)
    clothes.quadTo(x, neck_y + 13, x + wide + 3, neck_y)
    clothes.cubicTo(x + shoulder * 0.8, neck_y + 3, x + shoulder, neck_y + 8, x + shoulder, 160)
    clothes.close()
    if chibi:
        for side in (-1.0, 1.0):
            arm = oval(x + side * (shoulder + 3), neck_y + 17, 6.0, 12.0)
            canvas.shape(arm, view.clothes_rgb, 3.0)
            canvas.shape(oval(x + side * (shoulder + 5), neck_y + 27, 5.5, 5.0), person.skin_rgb, 2.0)
    canvas.shape(clothes, view.clothes_rgb, 8.0)
