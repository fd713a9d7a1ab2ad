"""How pictures are put before the detector: heads that lie, pictures of any shape at a bounded cost, detectors gone wild."""

import logging
import math
import time

import numpy as np
import pytest
import torch

from facegen.errors import BrokenModelPackError
from facegen.models.face.analysis import Face, FaceAnalysis, aligned_crop, around
from facegen.models.face.photo_to_embeds import embed_photos
from facegen.models.face.quality import portrait_quality
from facegen.models.face.tries import TRIES, Try, put_before_detector
from onnx_files import FACES, save_pack
from peak_memory import peak_of

# Of a face: eyes, nose and corners of the mouth, in a picture of 240x160, each a small square of its own colour.
POINTS = np.array([[90, 60], [130, 60], [110, 80], [95, 100], [125, 100]], np.float32)
COLOURS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 250, 250]], np.uint8)


def drawn(turn):
    """The face in a picture turned `turn` quarters to the right."""
    picture = np.full((160, 240, 3), 90, np.uint8)
    for (x, y), colour in zip(POINTS.astype(int), COLOURS, strict=True):
        picture[y - 3 : y + 4, x - 3 : x + 4] = colour
    return np.ascontiguousarray(np.rot90(picture, -turn))


def places(bgr):
    """Where the five squares are in a picture."""
    spots = [np.argwhere((bgr == colour).all(axis=-1)) for colour in COLOURS]
    return np.array([spot.mean(axis=0)[::-1] for spot in spots], np.float32)


class Sees:
    """A detector that knows upright faces. One that lies it doesn't see, or with `dimly` sees with points in disorder."""

    def __init__(self, monkeypatch, face_analysis, dimly):
        self.looked, self.dimly = 0, dimly
        monkeypatch.setattr(face_analysis.session, "detect", self.detect)

    def detect(self, bgr, sizes, threshold):
        self.looked += 1
        kps, confidence = places(bgr), 0.9
        x, y = kps[3:].mean(axis=0) - kps[:2].mean(axis=0)
        if abs(math.degrees(math.atan2(-x, y))) > 30:
            if not self.dimly:
                return np.zeros((0, 5), np.float32), np.zeros((0, 5, 2), np.float32)
            kps, confidence = kps + np.array([[9, 0], [-9, 5], [0, 7], [5, 0], [-5, 9]], np.float32), 0.6
        box = [*(kps.min(axis=0) - 20), *(kps.max(axis=0) + 20), confidence]
        return np.array([box], np.float32), kps[None]


@pytest.mark.parametrize("dimly", [False, True], ids=["not seen", "seen crooked"])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_head_that_lies_is_read_upright(face_analysis, monkeypatch, caplog, turn, dimly):
    bgr, eyes = drawn(turn), Sees(monkeypatch, face_analysis, dimly)
    (face,) = face_analysis.find(bgr).faces
    assert face.turn == face.lies == turn and face.confidence == pytest.approx(0.9)
    assert np.allclose(face.kps, places(bgr), atol=0.01)
    assert face.bbox == pytest.approx([*(places(bgr).min(axis=0) - 20), *(places(bgr).max(axis=0) + 20)], abs=1.1)
    assert eyes.looked == (1 if turn == 0 else 2 if dimly else 4 + [1, 3, 2].index(turn) + 1)
    (upright,) = face_analysis.find(drawn(0)).faces
    assert (aligned_crop(bgr, face) - aligned_crop(drawn(0), upright)).abs().mean() < 0.01
    qualities = [portrait_quality(picture, seen) for picture, seen in ((bgr, face), (drawn(0), upright))]
    assert [c.value for c in qualities[0].checks] == pytest.approx([c.value for c in qualities[1].checks], rel=0.05, abs=0.5)

    with caplog.at_level(logging.WARNING):
        done = embed_photos(face_analysis, torch.from_numpy(bgr[..., ::-1].copy())[None] / 255, names=["me.jpg"])
    said = " ".join(done.warnings)
    turned = ["", "turned a quarter left", "turned upside down", "turned a quarter right"][turn]
    if turn:
        assert f"me.jpg, face 0: the head doesn't stand upright, so it was read from the photo {turned}." in said
        assert done.report["pictures"][0]["faces"][0]["turned"] == turned
        assert turned in caplog.text
    else:
        assert "upright" not in said and "turned" not in done.report["pictures"][0]["faces"][0]


def test_of_several_people_only_the_one_who_lies_is_looked_for_again(face_analysis, monkeypatch):
    """And who isn't seen better when the picture is turned stays as found."""
    lying = [Face(np.float32([100, 0, 150, 50]), np.rot90(POINTS - 60, 2).copy()[:, ::-1], 0.7)]
    upright = [Face(np.float32([0, 0, 40, 40]), POINTS, 0.8)]
    looks = []

    def look(bgr, attempt):
        looks.append(attempt.turn)
        return tuple(upright + lying) if not attempt.turn else ()

    monkeypatch.setattr(face_analysis, "_look", look)
    found = face_analysis.find(np.zeros((100, 200, 3), np.uint8))
    assert list(found.faces) == upright + lying and looks == [0, lying[0].lies] and lying[0].lies


@pytest.mark.parametrize("shape", [(200, 100), (480, 640), (1000, 3000), (1, 1), (3, 1000), (3000, 2000)])
@pytest.mark.parametrize("attempt", TRIES[:4], ids=str)
def test_ordinary_photos_come_before_the_detector_bit_by_bit(shape, attempt):
    bgr = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    shown, back = put_before_detector(bgr, attempt)
    border = round(attempt.border * max(shape))
    low = math.ceil(max(shape) / min(min(size) for size in attempt.sizes)) + 1
    more = [max(0, low - side - 2 * border) for side in shape]
    assert np.array_equal(shown, np.pad(bgr, (*((border, border + extra) for extra in more), (0, 0))))
    points = np.float32([[border + 7, border + 9]])
    assert np.array_equal(back(points), [[7, 9]])


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(400, 15000), (15000, 400), (4, 90000)])
def test_places_in_a_reduced_picture_lead_back(shape, turn):
    bgr = np.zeros((*shape, 3), np.uint8)
    at = np.array([shape[1] // 2, shape[0] // 2])
    bgr[max(0, at[1] - 150) : at[1] + 150, max(0, at[0] - 150) : at[0] + 150] = 255
    shown, back = put_before_detector(bgr, Try(border=0.5, turn=turn))
    assert shown.size < 30e6
    bright = np.argwhere(shown[..., 0] > 128).mean(axis=0)[::-1].astype(np.float32)
    assert np.abs(back(bright[None])[0] - at).max() < 0.02 * max(shape) / 5


# The picture that comes in counts: 12 bytes a pixel, as floats.
@pytest.mark.parametrize("shape", [(800, 15000), (20000, 100), (1, 1_000_000), (2000, 2000), (1300, 3900)])
@pytest.mark.parametrize("light", [0.5, 0.0], ids=["a face", "nobody"])
def test_memory_is_in_proportion_to_the_picture(face_analysis, shape, light):
    photo = torch.full((1, *shape, 3), light)
    embed_photos(face_analysis, torch.full((1, 64, 64, 3), 0.5))  # ONNX Runtime's own share
    face_analysis.find(np.zeros((64, 64, 3), np.uint8))

    def work():
        try:
            return embed_photos(face_analysis, photo, select="all")
        except ValueError:
            assert light == 0

    began = time.process_time()
    assert peak_of(work) < 3 * photo.numel() * 4 + (90 << 20)  # of the detector's largest picture, 1280x1280
    assert time.process_time() - began < 60


@pytest.mark.parametrize("shape", [(300, 40_000), (40_000, 300)])
def test_a_face_beyond_what_opencv_aligns(tmp_path, shape):
    pack = save_pack(
        tmp_path / "p", [(0.9, 0.001, 0.905, 0.006, 0.9)] if shape[1] > shape[0] else [(0.001, 0.9, 0.006, 0.905, 0.9)]
    )
    bgr = np.random.default_rng(0).integers(1, 256, (*shape, 3), dtype=np.uint8)
    face_analysis = FaceAnalysis(pack, "CPU")
    (face,) = face_analysis.detect(bgr)
    x, y = face.bbox[:2].astype(int) - 20
    x, y = max(0, x), max(0, y)
    near = Face(face.bbox, face.kps - np.float32([x, y]), 0.9)
    part = np.ascontiguousarray(bgr[y : y + 300, x : x + 300])
    assert (aligned_crop(bgr, face) - aligned_crop(part, near)).abs().max() < 0.02
    assert torch.allclose(face_analysis.embed(bgr, [face]), face_analysis.embed(part, [near]), atol=0.05)
    assert portrait_quality(bgr, face).score > 0
    # Newer OpenCV aligns such pictures, too; where it doesn't, this is what it gets.
    shown, kps = around(bgr, face.kps)
    assert max(shown.shape[:2]) < 32_767
    (left, top), *_ = (face.kps - kps).round().astype(int)
    assert np.array_equal(shown, bgr[top : top + shown.shape[0], left : left + shown.shape[1]])
    assert ((kps >= 0) & (kps < shown.shape[1::-1])).all()


@pytest.mark.parametrize(("candidates", "apart"), [(12_000, True), (3_000, True), (50_000, False)])
def test_a_detector_that_sees_faces_everywhere_is_damaged(tmp_path, monkeypatch, candidates, apart):
    face_analysis = FaceAnalysis(save_pack(tmp_path / "p", FACES), "CPU")
    boxes = np.zeros((candidates, 4), np.float32)
    boxes[:, 0] = np.arange(candidates) * (20 if apart else 0)
    boxes[:, 2:] = boxes[:, :2] + 10
    found = [np.full((candidates, 1), 0.9, np.float32)], [boxes], [np.zeros((candidates, 5, 2), np.float32)]
    monkeypatch.setattr(face_analysis.session._models[0], "forward", lambda *_: found)
    began = time.process_time()
    with pytest.raises(BrokenModelPackError, match=r"failed on this picture \(ValueError: it sees more than 1000 faces"):
        face_analysis.find(np.full((64, 64, 3), 128, np.uint8))
    assert time.process_time() - began < 15
