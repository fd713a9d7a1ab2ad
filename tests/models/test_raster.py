"""Shapes with OpenCV's pixels: compared with OpenCV's own, inside a picture, across its edges and outside."""

import cv2
import numpy as np
import pytest

from facegen.models.raster import disc, ellipse

COLOUR = (255, 128, 1)


def blank(width=90, height=70):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize("radius", [*range(13), 40])
def test_discs(radius):
    dice = np.random.default_rng(radius)
    for centre in dice.integers(-50, 140, (60, 2)).tolist():
        ours, theirs = blank(), blank()
        disc(ours, centre, radius, COLOUR)
        cv2.circle(theirs, centre, radius, COLOUR, -1)
        assert np.array_equal(ours, theirs), centre


@pytest.mark.parametrize("degrees", range(-180, 181, 5))
def test_ellipses(degrees):
    dice = np.random.default_rng(degrees + 180)
    for _ in range(30):
        centre, length, width = dice.integers(-60, 150, 2).tolist(), int(dice.integers(0, 90)), int(dice.integers(0, 9))
        ours, theirs = blank(), blank()
        ellipse(ours, tuple(centre), (length, width), degrees, COLOUR)
        cv2.fillConvexPoly(theirs, cv2.ellipse2Poly(centre, (length, width), degrees, 0, 360, 1), COLOUR)
        assert np.array_equal(ours, theirs), (centre, length, width)


def test_an_ellipse_far_larger_than_the_picture():
    for degrees in (-133, -90, 0, 17, 45):
        ours, theirs = blank(), blank()
        ellipse(ours, (45, 30), (3000, 40), degrees, COLOUR)
        cv2.fillConvexPoly(theirs, cv2.ellipse2Poly((45, 30), (3000, 40), degrees, 0, 360, 1), COLOUR)
        assert np.array_equal(ours, theirs) and ours.any()
