"""The five points of faces, placed in a frame and drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from facegen.errors import FaceGenError, NoKeypointsError
from facegen.models.face.embeds import NOBODY, FaceEmbeds
from facegen.models.face.keypoints import as_in_photo, draw_keypoints, faces_to_draw, fitted
from facegen.models.face.photo_to_embeds import embed_photos
from keypoint_drawing import hint_image

UPRIGHT = np.float32([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
FACE = {"kps": UPRIGHT.tolist(), "bbox": [18.0, 11.0, 94.0, 111.0], "size": [112, 224]}


def turned(degrees, scale=1.0, move=(0, 0)):
    """The face in a plane: seen at another angle, size and place."""
    angle = np.radians(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = UPRIGHT.mean(axis=0)
    return ((UPRIGHT - middle) @ matrix.T + middle + move).astype(np.float32)


SETS = {
    "upright": turned(0, 3, (200, 180)),
    "tilted": turned(-23, 4.3, (300, 200)),
    "lying": turned(90, 2.2, (120, 260)),
    "on its head": turned(180, 3.7, (250, 250)),
    "small": turned(11, 0.3, (60, 20)),
    "filling the frame": turned(4, 7.1, (240, 200)),
    "over the left edge": turned(30, 4, (-60, 120)),
    "over the right and lower edge": turned(-60, 5, (420, 360)),
    "outside": turned(0, 1, (900, 100)),
    "in one spot": np.full((5, 2), 99.5, np.float32),
    "a profile": np.float32([[200.2, 150.9], [204.6, 151.3], [160.4, 210.2], [190.7, 262.6], [193.9, 262.9]]),
}


@pytest.mark.parametrize("points", SETS.values(), ids=SETS)
def test_the_drawing_is_the_published_one(points):
    drawn = draw_keypoints([points], 512, 448)
    assert drawn.shape == (448, 512, 3) and drawn.dtype == torch.float32
    assert np.array_equal((drawn * 255).round().byte().numpy(), hint_image(points, 512, 448))
    assert drawn.any() == (points[:, 0].min() < 600)


def test_random_points():
    dice = np.random.default_rng(0)
    for _ in range(40):
        points = dice.uniform(-60, 360, (5, 2)).astype(np.float32)
        assert np.array_equal((draw_keypoints([points], 300, 260) * 255).round().byte().numpy(), hint_image(points, 300, 260))


def test_several_faces_in_one_image():
    left, right = SETS["upright"], SETS["upright"] + np.float32([230, 0])
    both = draw_keypoints([left, right], 512, 448)
    assert torch.equal(both, torch.maximum(draw_keypoints([left], 512, 448), draw_keypoints([right], 512, 448)))
    assert not draw_keypoints([], 64, 64).any()


def test_what_is_infinitely_far_away_is_drawn_at_all():
    points = UPRIGHT.copy()
    points[0] = -np.inf, 3e38
    assert draw_keypoints([points], 112, 112).any()


def test_as_in_the_photo():
    """The whole photo is in the frame: 112x224 doubles in 448x448, and stands in the middle."""
    (points,) = as_in_photo([FACE], 448, 448)
    assert np.allclose(points, UPRIGHT * 2 + [112, 0], atol=1e-4)
    (points,) = as_in_photo([FACE], 56, 672)
    assert np.allclose(points, UPRIGHT / 2 + [0, 280], atol=1e-4)


def test_fitted_into_a_frame():
    """The box is 76 wide and 100 high: at 0.5 of a frame of 400x800 its width is what fits."""
    (points,) = fitted([FACE], 400, 800, (0.25, 0.75), 0.5)
    factor = 0.5 * 400 / 76
    assert np.allclose(points, (UPRIGHT - [56, 61]) * factor + [100, 600], atol=1e-3)
    other = {**FACE, "kps": (UPRIGHT + 100).tolist(), "bbox": [118.0, 111.0, 194.0, 211.0]}
    both = fitted([FACE, other], 400, 400, scale=0.5)
    assert np.allclose(both[1] - both[0], [100 * 0.5 * 400 / 200] * 2, atol=1e-3)  # the box of both is 176 x 200
    assert fitted([], 400, 400) == [] and as_in_photo([], 400, 400) == []


def test_faces_of_embeds():
    one = FaceEmbeds(torch.ones(1, 512), faces=({**FACE, "confidence": 0.5}, FACE))
    assert faces_to_draw(one) == [[one.faces[0]]]
    each = FaceEmbeds(torch.tensor([[1.0] * 512, [0.0] * 512]), faces=(FACE, NOBODY), per_image=True)
    assert faces_to_draw(each) == [[FACE], []]
    with pytest.raises(NoKeypointsError, match="where eyes, nose and mouth are"):
        faces_to_draw(FaceEmbeds(torch.ones(1, 512)))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: as_in_photo([{"bbox": [0, 0, 1, 1], "size": [9, 9]}], 64, 64), "where eyes, nose and mouth are"),
        (lambda: as_in_photo([{"kps": FACE["kps"]}], 64, 64), "how large their photo was"),
        (lambda: fitted([{"kps": FACE["kps"]}], 64, 64), "where their box is"),
        (lambda: fitted([{**FACE, "bbox": [5.0, 5.0, 5.0, 9.0]}], 64, 64), r"can't be fitted into a frame: \[5.0, 5.0, 5.0"),
        (lambda: fitted([{**FACE, "bbox": [-1e308, 0.0, 1e308, 9.0]}], 64, 64), "can't be fitted into a frame"),
        (lambda: fitted([FACE], 64, 64, scale=0), "scale 0; it has to be above 0"),
    ],
)
def test_what_is_not_known(call, says):
    with pytest.raises(FaceGenError, match=says):
        call()


def test_a_photo_s_face_comes_with_the_photo_s_size(face_analysis, astronaut, tmp_path):
    embeds = embed_photos(face_analysis, astronaut[:, :400]).face_embeds
    assert embeds.faces[0]["size"] == [512, 400]
    embeds.save(tmp_path / "face.safetensors")
    assert FaceEmbeds.load(tmp_path / "face.safetensors").faces == embeds.faces
    older = replace(embeds, faces=tuple({k: v for k, v in face.items() if k != "size"} for face in embeds.faces))
    older.save(tmp_path / "older.safetensors")
    assert "size" not in FaceEmbeds.load(tmp_path / "older.safetensors").faces[0]
