"""Faces that training turns upright, many at once, are those that InsightFace cuts out one by one."""

import numpy as np
import pytest
import torch

from facegen.tools.tiny_model.crops import aligned, alignment, moved, sharpness, softened
from facegen.tools.tiny_model.drawings.drawing import draw
from facegen.tools.tiny_model.drawings.person import STYLES, Person, View


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    pairs = [draw(Person.random(rng), View.random(rng), style, size=256) for style in STYLES]
    pictures, points = (np.stack(part) for part in zip(*pairs, strict=True))
    return pictures, points + rng.normal(0, 3, points.shape).astype(np.float32)


@pytest.mark.parametrize("side", [112, 224])
def test_faces_are_turned_as_insightface_turns_them(drawn, side):
    face_align = pytest.importorskip("insightface.utils.face_align")
    pictures, points = drawn
    wanted = np.stack([face_align.estimate_norm(p, side) for p in points])
    given = alignment(torch.from_numpy(points), side)
    assert np.allclose(given, wanted, atol=2e-3)
    turned = moved(torch.from_numpy(points), given)
    assert np.allclose(turned, np.einsum("nij,nmj->nmi", wanted[:, :, :2], points) + wanted[:, None, :, 2], atol=0.2)

    crops = np.stack([face_align.norm_crop(picture, p, side) for picture, p in zip(pictures, points, strict=True)])
    faces = aligned(torch.from_numpy(pictures).movedim(-1, 1).float(), torch.from_numpy(points), side)
    off = np.abs(faces.movedim(1, -1).numpy() - crops)
    assert off.mean() < 0.5 and np.percentile(off, 99) < 6  # OpenCV counts in 32nds of a pixel


def test_a_share_of_the_pictures_is_softened(drawn):
    pictures = torch.from_numpy(drawn[0]).movedim(-1, 1).float().repeat(8, 1, 1, 1)
    torch.manual_seed(0)
    assert torch.equal(softened(pictures, 0.0), pictures)
    half = softened(pictures, 0.5)
    same = (half == pictures).flatten(1).all(dim=1)
    assert 8 < same.sum() < 32 and half.min() >= 0 and half.max() <= 255
    ratio = sharpness(half)[~same] / sharpness(pictures)[~same]
    assert ratio.median() < 0.6 and (half - pictures).abs().mean() < 40
