"""Is this a good photo of a face? Six figures, each with a threshold and a sentence, and one score.

FaceID wants a face that is clear and visible down to the shoulders. Each figure scores 0 at `poor`, 0.5 at `needed`, which
is its threshold, and 1 at `good`; in between it is linear. The score is the geometric mean, so that one thing that is
badly wrong can't be made up for. Where the marks come from:

size       pixels of the photo along a side of the aligned face. The recogniser reads it at 112, CLIP vision at 224; below
           that it is enlarged.
sharpness  variance of the Laplacian (Pech-Pacheco et al., 2000) of the aligned face at 112 pixels, in grey values. 45 and
           250 are the marks of InsightFace 2.1's own quality check. Sharp photos reach about 500; blurred by a pixel, 50.
turn       degrees that the head is turned or nods, the larger one, from the five points (about 10 degrees accurate). 38
           is where InsightFace calls it a side face (nose 0.35 eye distances off the middle). A passport photo is allowed
           5 (ISO/IEC 19794-5); 15 is our own, milder mark.
inside     share of the face's box that lies in the picture.
shoulders  room beyond the chin in heights of the face's box. The box is about three quarters of a head, and shoulders lie
           a third to a half of a head below the chin (the canon of figure drawing): half a box is where they begin.
exposure   mean grey value of the aligned face, 0 to 255; 45 and 220 are InsightFace's marks for too dark and too bright.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .analysis import Face, around

CROP = 112  # pixels; the side of the recogniser's picture
FLOOR = 0.01  # of a single score: the worst photos can still be told apart
# ArcFace's template (eyes, nose, corners of the mouth) in pixels of that crop, with depths towards the camera from mean
# proportions: a nose tip of 28 mm and a mouth of 2 mm before the eyes, which are 63 mm apart.
HEAD = np.array([[38.3, 51.7, 0], [73.5, 51.5, 0], [56.0, 71.7, 15.7], [41.5, 92.4, 1.1], [70.7, 92.2, 1.1]])


@dataclass(frozen=True)
class Mark:
    """Where a figure scores 0, 0.5 and 1, and what is said below 0.5; `unit` follows the figure."""

    poor: float
    needed: float
    good: float
    unit: str
    advice: str

    def score(self, value: float) -> float:
        """0 to 1: linear between the three marks, and level beyond them."""
        points = sorted(zip((self.poor, self.needed, self.good), (0.0, 0.5, 1.0), strict=True))
        values, scores = zip(*points, strict=True)
        return float(np.interp(value, values, scores))


MARKS = {
    "size": Mark(48, 112, 224, " px", "The face is small. Use a larger photo, or one taken closer."),
    "sharpness": Mark(10, 45, 250, "", "The face is blurred. Use a sharper photo."),
    "turn": Mark(60, 38, 15, "°", "The face is turned away. Use a photo that looks at the camera."),
    "inside": Mark(0.5, 0.9, 1.0, "", "The face is cut off by the edge of the photo. Use one that shows all of it."),
    "shoulders": Mark(0.0, 0.5, 1.0, " face heights", "There is no room for the shoulders. Use a photo that shows them."),
    "too dark": Mark(20, 45, 80, " of 255", "The face is too dark. Use a photo with more light on it."),
    "too bright": Mark(245, 220, 180, " of 255", "The face is too bright. Use a photo with less light on it."),
}


@dataclass(frozen=True)
class Check:
    """One figure: its value, the value that is needed, a score (0-1) and a sentence."""

    name: str
    value: float
    needed: float
    score: float
    sentence: str

    @property
    def passed(self) -> bool:
        """Whether it reaches what is needed."""
        return self.score >= 0.5


@dataclass(frozen=True)
class PortraitQuality:
    checks: tuple[Check, ...]

    @property
    def score(self) -> float:
        """0 to 1; 0.5 is a photo that just passes every check."""
        return math.prod(max(check.score, FLOOR) for check in self.checks) ** (1 / len(self.checks))

    @property
    def problems(self) -> list[str]:
        """The sentences of the checks that fail."""
        return [check.sentence for check in self.checks if not check.passed]

    def as_dict(self) -> dict[str, Any]:
        """As plain values, rounded."""
        checks = {
            c.name: {"value": round(c.value, 2), "needed": c.needed, "score": round(c.score, 3), "says": c.sentence}
            for c in self.checks
        }
        return {"score": round(self.score, 3), "problems": self.problems, "checks": checks}


def portrait_quality(bgr: np.ndarray, face: Face) -> PortraitQuality:
    """Judge one face of a picture, BGR uint8 [H, W, 3]."""
    import cv2
    from insightface.utils import face_align

    part, kps = around(bgr, face.kps)
    matrix = face_align.estimate_norm(kps, CROP)
    grey = cv2.cvtColor(cv2.warpAffine(part, matrix, (CROP, CROP)), cv2.COLOR_BGR2GRAY)
    yaw, pitch, _ = head_pose(face.kps)
    light = float(grey.mean())
    height, width = bgr.shape[:2]
    values = {
        "size": CROP / math.hypot(matrix[0, 0], matrix[1, 0]),
        "sharpness": float(cv2.Laplacian(grey, cv2.CV_64F).var()),
        "turn": max(abs(yaw), abs(pitch)),
        "inside": _inside(face.bbox, height, width),
        "shoulders": _shoulders(face, height, width),
        "exposure": light,
    }
    return PortraitQuality(tuple(_check(name, value) for name, value in values.items()))


def head_pose(kps: np.ndarray) -> tuple[float, float, float]:
    """Estimated yaw (positive: the nose points right in the picture), pitch (positive: down) and roll, in degrees.

    HEAD is fitted to the five points [5, 2] under a scaled orthographic projection, least squares.
    """
    head, points = HEAD - HEAD.mean(axis=0), kps - kps.mean(axis=0)
    projection = np.linalg.lstsq(head, points, rcond=None)[0].T  # [2, 3]: scaled rows of the rotation
    u, _, v = np.linalg.svd(projection, full_matrices=False)
    rows = u @ v
    yaw, pitch = (math.degrees(math.asin(np.clip(rows[axis, 2], -1, 1))) for axis in (0, 1))
    return yaw, pitch, math.degrees(math.atan2(rows[1, 0], rows[0, 0]))


def _inside(box: np.ndarray, height: int, width: int) -> float:
    x0, y0, x1, y1 = (float(v) for v in box)
    seen = max(0.0, min(x1, width) - max(x0, 0)) * max(0.0, min(y1, height) - max(y0, 0))
    return seen / ((x1 - x0) * (y1 - y0))


def _shoulders(face: Face, height: int, width: int) -> float:
    """Room beyond the chin in heights of the box; which way the chin points, the face's turn tells."""
    x0, y0, x1, y1 = (float(v) for v in face.bbox)
    room = (height - y1, x0, y0, width - x1)[face.turn]
    return max(0.0, room) / ((x1 - x0) if face.turn % 2 else (y1 - y0))


def _check(name: str, value: float) -> Check:
    mark = MARKS.get(name) or min((MARKS["too dark"], MARKS["too bright"]), key=lambda m: m.score(value))
    score = mark.score(value)
    figure = f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"
    state = "good" if score >= 0.5 else mark.advice
    order = "at least" if mark.good > mark.needed else "at most"
    return Check(name, value, mark.needed, score, f"{name}: {figure}{mark.unit} ({order} {mark.needed:g}): {state}")
