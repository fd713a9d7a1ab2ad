"""Draws one person in one view and style as a square picture, with the five points that a face detector would find."""

from __future__ import annotations

import numpy as np
import skia

from . import features, worn
from .canvas import Canvas
from .eyes import brows, eyes
from .geometry import Head, face_path, make_head
from .hair import back_hair, front_hair, over_shoulder
from .person import STYLES, Person, View
from .setting import backdrop, body

SIZE = 256
UNITS = 128  # drawing units to a side
CLOSENESS = {"realistic": 0.88, "anime": 0.86, "3d": 0.86, "chibi": 0.90, "comic": 0.86}  # the camera's
MIDDLE = (64.0, 69.0)  # what the camera looks at


def draw(person: Person, view: View, style: str, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The picture, RGB uint8 [size, size, 3], and its keypoints, float32 [5, 2] in pixels (x, y).

    The points are InsightFace's: image-left eye, image-right eye, nose tip, image-left and image-right mouth corner.
    """
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; one of {', '.join(STYLES)}")
    pixels = np.zeros((size, size, 4), np.uint8)
    scale = size / UNITS
    with skia.Surface(pixels, colorType=skia.kRGBA_8888_ColorType) as skia_canvas:
        skia_canvas.scale(scale, scale)
        canvas = Canvas(skia_canvas, style, view.light, view.light_strength)
        backdrop(canvas, view)
        placed = _placement(view, CLOSENESS[style])
        skia_canvas.concat(placed)
        points = _portrait(canvas, make_head(person, view, style))
    mapped = [placed.mapXY(*point) for point in points]
    keypoints = np.asarray([(point.fX, point.fY) for point in mapped], np.float32) * np.float32(scale)
    return np.ascontiguousarray(pixels[..., :3]), keypoints


def _placement(view: View, closeness: float) -> skia.Matrix:
    """Roll and zoom about the face's middle, which comes to the picture's, then the shift."""
    matrix = skia.Matrix()
    matrix.setRotate(view.roll, *MIDDLE)
    matrix.postScale(view.zoom * closeness, view.zoom * closeness, *MIDDLE)
    matrix.postTranslate(view.dx, view.dy - MIDDLE[1] + 64.0)
    return matrix


def _portrait(canvas: Canvas, head: Head) -> list[tuple[float, float]]:
    """Everything of the person from back to front; returns the five points before placement."""
    back_hair(canvas, head)
    body(canvas, head)
    if head.person.ears_show:
        features.ears(canvas, head)
        worn.earrings(canvas, head)
    face = face_path(head)
    canvas.shape(face, head.person.skin_rgb, 8.0)
    features.planes(canvas, head, face)
    features.marks(canvas, head)
    worn.beard(canvas, head)
    corners = features.mouth(canvas, head)
    features.nose(canvas, head)
    centres = eyes(canvas, head)
    front_hair(canvas, head)
    over_shoulder(canvas, head)
    brows(canvas, head)
    worn.glasses(canvas, head)
    return [*centres, head.nose, *corners]
