"""The hint image of InstantID's ControlNet, drawn by OpenCV as the method describes it: what ours is compared with."""

import math

import cv2
import numpy as np

LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = range(5)
RED, GREEN, BLUE, YELLOW, MAGENTA = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)
COLOURS = (RED, GREEN, BLUE, YELLOW, MAGENTA)


def hint_image(points, width, height):
    """RGB uint8 [height, width, 3]; points float32 [5, 2]."""
    picture = np.zeros((height, width, 3))
    for end in (LEFT_EYE, RIGHT_EYE, LEFT_MOUTH, RIGHT_MOUTH):
        x, y = points[[end, NOSE], 0], points[[end, NOSE], 1]
        length = float(np.sqrt((x[0] - x[1]) ** 2 + (y[0] - y[1]) ** 2))
        degrees = math.degrees(math.atan2(y[0] - y[1], x[0] - x[1]))
        middle = int(np.mean(x)), int(np.mean(y))
        outline = cv2.ellipse2Poly(middle, (int(length / 2), 4), int(degrees), 0, 360, 1)
        cv2.fillConvexPoly(picture, outline, COLOURS[end])
    picture = (picture * 0.6).astype(np.uint8)
    for (x, y), colour in zip(points, COLOURS, strict=True):
        cv2.circle(picture, (int(x), int(y)), 10, colour, -1)
    return picture
