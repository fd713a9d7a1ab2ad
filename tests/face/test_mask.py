"""Where the faces are, as a mask."""

import numpy as np
import pytest
import torch

from facegen.models.face.analysis import Face
from facegen.models.face.mask import face_mask
from facegen.models.face.photo_to_embeds import embed_photos


def face(*bbox):
    return Face(np.float32(bbox), np.zeros((5, 2), np.float32), 0.9)


def distance(bbox, y, x):
    """Of a pixel to the box's centre, in half box sides."""
    (x0, y0, x1, y1) = bbox
    return np.hypot((x + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2), (y + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2))


@pytest.mark.parametrize(
    "bbox",
    [(20, 30, 50, 70), (-10, -5, 12, 20), (60, 70, 130, 200), (200, 10, 240, 50), (-90, 5, -40, 50), (-1e9, -1e9, 1e9, 1e9)],
    ids=["inside", "top left", "bottom right", "right of it", "left of it", "around it"],
)
def test_white_on_the_face_and_fading_around_it(bbox):
    mask = face_mask([face(*bbox)], 90, 80)
    assert mask.shape == (90, 80) and mask.dtype == torch.float32
    y, x = np.mgrid[:90, :80]
    d = distance(bbox, y, x)
    assert mask[torch.from_numpy(d < 1.09)].eq(1).all() and mask[torch.from_numpy(d > 1.51)].eq(0).all()
    between = torch.from_numpy((d > 1.12) & (d < 1.48))
    assert torch.allclose(mask[between], torch.from_numpy((1.5 - d) / 0.4).float()[between], atol=1e-4)


def test_several_faces_add_up_to_one_mask():
    alone = [face_mask([face(*bbox)], 64, 96) for bbox in ((5, 10, 35, 50), (30, 10, 60, 50))]
    both = face_mask([face(5, 10, 35, 50), face(30, 10, 60, 50)], 64, 96)
    assert torch.equal(both, torch.maximum(*alone)) and not face_mask([], 64, 96).any()


def test_each_photo_has_a_mask_of_its_chosen_faces(face_analysis, astronaut):
    wide = torch.cat([astronaut, torch.zeros_like(astronaut), astronaut])[:, :400]
    largest = embed_photos(face_analysis, wide, skip=True).mask
    every = embed_photos(face_analysis, wide, skip=True, select="all", combine="concat").mask
    assert largest.shape == (3, 400, 512)
    assert largest[0, 256, 268] == 1 and largest[0, 205, 77] == 0 and every[0, 205, 77] == 1
    assert not largest[1].any() and torch.equal(largest[0], largest[2])
