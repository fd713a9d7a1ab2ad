"""The five points of faces as the hint image that InstantID's ControlNet reads.

The drawing is the published one (https://github.com/instantX-research/InstantID, draw_kps), pixel by pixel: on black, a
limb from the nose to each eye and corner of the mouth, as an ellipse eight pixels wide in the colour of its end at 0.6,
then a disc of radius 10 on each point. Neither grows with the picture, so points are placed first and drawn then, in the
size in which they are used.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ...errors import FaceGenError, NoKeypointsError
from ..raster import disc, ellipse
from .embeds import NOBODY, FaceEmbeds

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))  # eyes, nose, corners of the mouth
NOSE, LIMBS = 2, (0, 1, 3, 4)
HALF_WIDTH, RADIUS, DIMMED = 4, 10, 0.6
CENTRE, SCALE = (0.5, 0.4), 0.4  # of a face in a frame: that of a portrait with room above the head
UNKNOWN = "These faces don't say where eyes, nose and mouth are."
FAR = 4  # frames; a point further outside is drawn at that distance
Place = Mapping[str, Any]  # an entry of FaceEmbeds.faces


def draw_keypoints(faces: Iterable[ArrayLike], width: int, height: int) -> Tensor:
    """RGB float32 [height, width, 3] (0-1): the five points [5, 2] of each face, given in pixels of that picture."""
    picture = np.zeros((height, width, 3), np.uint8)
    far = FAR * max(width, height)
    every = [np.clip(np.asarray(points, np.float32), -far, far) for points in faces]
    for points in every:
        for end in LIMBS:
            _limb(picture, points[end], points[NOSE], COLOURS[end])
    picture = (picture * DIMMED).astype(np.uint8)
    for points in every:
        for (x, y), colour in zip(points, COLOURS, strict=True):
            disc(picture, (int(x), int(y)), RADIUS, colour)
    return torch.from_numpy(picture).float() / 255


def _limb(picture: np.ndarray, end: np.ndarray, nose: np.ndarray, colour: tuple[int, int, int]) -> None:
    # In float32 and cut to whole numbers, as published.
    x, y = end - nose
    length = float(np.sqrt(np.square(end - nose).sum()))
    middle = np.stack([end, nose]).mean(axis=0)
    degrees = int(math.degrees(math.atan2(y, x)))
    ellipse(picture, (int(middle[0]), int(middle[1])), (int(length / 2), HALF_WIDTH), degrees, colour)


def faces_to_draw(face_embeds: FaceEmbeds) -> list[list[Place]]:
    """The faces of each hint image: one image for each row of one face per image, of which nobody's stays black; else one with
    the first face that went in."""
    rows = face_embeds.faces if face_embeds.per_image else face_embeds.faces[:1]
    if not rows:
        raise NoKeypointsError(UNKNOWN)
    return [[] if face == NOBODY else [face] for face in rows]


def are_placed(faces: Iterable[Place]) -> bool:
    """Whether it is known where in their photo these faces are."""
    return all("size" in face for face in faces)


def as_in_photo(faces: Sequence[Place], width: int, height: int) -> list[np.ndarray]:
    """Points [5, 2] of faces in a frame of width x height pixels, each where it is in its photo.

    The whole photo is fitted into the frame and centred, and nothing is stretched. Needs `kps` and `size`; raises
    NoKeypointsError.
    """
    if not are_placed(faces):
        raise NoKeypointsError("These faces don't say how large their photo was, so their place in it isn't known.")
    placed = []
    for points, face in zip(_points(faces), faces, strict=True):
        across, down = face["size"]
        scale = min(width / across, height / down)
        placed.append(points * scale + (np.array([width, height]) - np.array([across, down]) * scale) / 2)
    return placed


def fitted(
    faces: Sequence[Place], width: int, height: int, centre: tuple[float, float] = CENTRE, scale: float = SCALE
) -> list[np.ndarray]:
    """Points [5, 2] of faces of one photo in a frame of width x height pixels, together and as they are to each other.

    centre: of the box around them, as shares of the frame. scale: the share of the frame that the box takes, of its height or
    its width, whichever is more. Needs `kps` and `bbox`; raises NoKeypointsError, and FaceGenError for a scale of 0 or less.
    """
    if not faces:
        return []
    if not scale > 0:
        raise FaceGenError(f"A face can't be fitted at the scale {scale:g}; it has to be above 0.")
    points = _points(faces)
    if not all("bbox" in face for face in faces):
        raise NoKeypointsError("These faces don't say where their box is, by which they are fitted into a frame.")
    boxes = np.array([face["bbox"] for face in faces], np.float64)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    frame = np.array([width, height])
    with np.errstate(over="ignore"):
        size = high - low
    if not (size >= 1).all() or not np.isfinite(size).all():
        raise NoKeypointsError(f"The box of these faces can't be fitted into a frame: {[*low.tolist(), *high.tolist()]}.")
    factor = scale * float((frame / size).min())
    return [(one - (low + high) / 2) * factor + frame * np.array(centre) for one in points]


def _points(faces: Sequence[Place]) -> list[np.ndarray]:
    if not all("kps" in face for face in faces):
        raise NoKeypointsError(UNKNOWN)
    return [np.array(face["kps"], np.float64) for face in faces]
