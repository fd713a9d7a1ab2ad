"""What makes a good photo of a face."""

import cv2
import numpy as np
import pytest
import torch

from facegen.models.face.analysis import Face, to_bgr
from facegen.models.face.likeness import Likeness, best_first, best_pictures, percentage
from facegen.models.face.quality import HEAD, MARKS, head_pose, portrait_quality
from facegen.models.face.recognisers import recogniser

ASTRONAUT = np.float32([[206, 110], [247, 106], [230, 130], [213, 149], [246, 146]])  # eyes, nose, mouth, by eye


def rotation(yaw, pitch, roll):
    (a, b, c), (x, y, z) = np.cos(np.radians((yaw, pitch, roll))), np.sin(np.radians((yaw, pitch, roll)))
    turn = np.array([[a, 0, x], [0, 1, 0], [-x, 0, a]])
    nod = np.array([[1, 0, 0], [0, b, y], [0, -y, b]])
    tilt = np.array([[c, -z, 0], [z, c, 0], [0, 0, 1]])
    return tilt @ nod @ turn


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (-45, 0, 0), (0, 20, 0), (0, -25, 0), (0, 0, 40)])
def test_pose_is_recovered_from_a_turned_head(angles):
    points = (HEAD @ rotation(*angles).T)[:, :2] * 3.7 + (400, 90)
    assert head_pose(points) == pytest.approx(angles, abs=0.01)


def checks(bgr, kps=ASTRONAUT, box=(185, 60, 268, 165)):
    quality = portrait_quality(bgr, Face(np.float32(box), np.float32(kps), 0.9))
    return {check.name: check for check in quality.checks}, quality


@pytest.fixture
def photo(astronaut):
    return to_bgr(astronaut[0])


def test_a_good_photo_passes_and_says_so(photo):
    big = cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    found, quality = checks(big, ASTRONAUT * 2, (370, 120, 536, 330))
    assert quality.problems == [] and quality.score > 0.8 and all(c.passed for c in found.values())
    assert found["size"].value == pytest.approx(2 * 41 * 112 / 35.2, rel=0.1)
    assert found["shoulders"].value == pytest.approx((1024 - 330) / 210)
    assert "sharpness" in quality.as_dict()["checks"] and found["turn"].value < 15


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (lambda p: cv2.GaussianBlur(p, (0, 0), 3), "sharpness"),
        (lambda p: p // 8, "exposure"),
        (lambda p: (p // 8 + 222).astype(np.uint8), "exposure"),
    ],
)
def test_harm_is_seen_by_its_own_check(photo, harm, name):
    before, good = checks(photo)
    after, bad = checks(harm(photo))
    assert before[name].passed and not after[name].passed
    assert any(name in problem for problem in bad.problems) and bad.score < good.score
    assert str(int(after[name].needed)) in after[name].sentence


def test_small_cut_off_turned_and_without_shoulders(photo):
    small = cv2.resize(photo, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    assert not checks(small, ASTRONAUT * 0.4, (74, 24, 107, 66))[0]["size"].passed
    cut = photo[:, 215:].copy()
    found, _ = checks(cut, ASTRONAUT - (215, 0), (-30, 60, 53, 165))
    assert found["inside"].value == pytest.approx(53 / 83) and not found["inside"].passed
    tight = photo[50:170].copy()
    found, _ = checks(tight, ASTRONAUT - (0, 50), (185, 10, 268, 115))
    assert found["shoulders"].value == pytest.approx(5 / 105, abs=1e-3) and not found["shoulders"].passed
    side = (HEAD @ rotation(55, 0, 0).T)[:, :2] + (180, 60)
    assert not checks(photo, side)[0]["turn"].passed


def test_one_bad_figure_can_not_be_made_up_for(photo):
    _, quality = checks(cv2.GaussianBlur(photo, (0, 0), 9))
    assert quality.score < 0.5 and len(quality.problems) == 1


@pytest.mark.parametrize("name", MARKS)
def test_marks_score_as_documented(name):
    mark = MARKS[name]
    assert [mark.score(v) for v in (mark.poor, mark.needed, mark.good)] == [0, 0.5, 1]


def test_percentage():
    same = recogniser("w600k_r50").same_person
    assert percentage(same, same) == pytest.approx(60)
    assert [round(percentage(c, same)) for c in (0, 0.2, 0.7, 1)] == [7, 24, 94, 99]
    values = [percentage(c / 50, same) for c in range(-50, 51)]
    assert values == sorted(values) and values[0] >= 1 and values[-1] <= 100


def test_best_first_with_the_faceless_last():
    scores = [Likeness(n, c, "w600k_r50") for n, c in enumerate((0.2, None, -0.9, 0.6, 0.2))]
    assert [s.picture for s in best_first(scores)] == [3, 0, 4, 2, 1]
    images = torch.arange(5.0).view(5, 1, 1, 1)
    kept, best = best_pictures(images, scores, 2)
    assert kept.flatten().tolist() == [3, 0] and [s.cosine for s in best] == [0.6, 0.2]
    assert len(best_pictures(images, scores, 99)[0]) == 5
