"""Faces against InsightFace itself, on real photos and ONNX files of its exact signatures."""

import shutil

import numpy as np
import pytest
import torch

from facegen.errors import FaceGenError
from facegen.models.face.analysis import FaceAnalysis, aligned_crop, select_faces, to_bgr
from facegen.models.face.annotate import annotate, as_batch
from facegen.models.face.packs.find import find_packs
from facegen.models.pictures import require_rgb
from onnx_files import FACES, save_detector, save_pack, save_recogniser


def grey(height, width):
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize("photo", ["astronaut", "t1", "tom_hanks"])
def test_identity_equals_insightface_bit_for_bit(insightface_app, face_analysis, photo, request):
    picture = request.getfixturevalue(photo)[0]
    bgr = (picture.numpy() * 255).round().astype(np.uint8)[..., ::-1].copy()
    theirs = insightface_app.get(bgr)
    ours = face_analysis.detect(to_bgr(picture))
    assert len(ours) == len(theirs) == 3
    identities = face_analysis.embed(to_bgr(picture), ours)
    assert identities.dtype == torch.float32 and identities.shape == (3, 512)
    for face, identity, other in zip(ours, identities, theirs, strict=True):
        assert np.array_equal(face.bbox, other.bbox) and np.array_equal(face.kps, other.kps)
        assert face.confidence == other.det_score
        assert np.array_equal(identity.numpy(), other.embedding)


def test_crop_is_insightface_norm_crop_in_rgb(face_analysis, astronaut):
    from insightface.utils import face_align

    face = face_analysis.detect(to_bgr(astronaut[0]))[0]
    crop = aligned_crop(to_bgr(astronaut[0]), face)
    bgr = face_align.norm_crop(to_bgr(astronaut[0]), face.kps, image_size=224)
    assert crop.shape == (224, 224, 3)
    assert np.array_equal((crop.numpy() * 255).round().astype(np.uint8), bgr[..., ::-1])


def test_eight_bit_pictures_survive_the_way_through_floats():
    values = torch.arange(256, dtype=torch.float32).view(1, 256, 1).expand(1, 256, 3) / 255.0
    assert np.array_equal(to_bgr(values)[0, :, 0], np.arange(256))


@pytest.mark.parametrize(
    ("how", "index", "expected"),
    [
        ("largest", 0, [1]),
        ("most central", 0, [1]),
        ("leftmost", 0, [0]),
        ("rightmost", 0, [2]),
        ("topmost", 0, [2]),
        ("by index", 0, [0]),
        ("by index", 2, [2]),
        ("all", 0, [0, 1, 2]),
    ],
)
def test_selection(face_analysis, how, index, expected):
    chosen = select_faces(face_analysis.detect(grey(400, 400)), how, 400, 400, index)
    for face, number in zip(chosen, expected, strict=True):
        assert face.bbox == pytest.approx(np.array(FACES[number][:4]) * 400, abs=1.5)


def test_index_out_of_range_is_an_error_that_counts(face_analysis):
    with pytest.raises(FaceGenError, match=r"face_index 5 .* 3 face"):
        select_faces(face_analysis.detect(grey(64, 64)), "by index", 64, 64, 5)


def test_min_confidence_lets_weaker_faces_in(pack):
    assert len(FaceAnalysis(pack, min_confidence=0.3).detect(grey(64, 64))) == 4


def test_no_face_names_size_detector_sizes_and_cure(face_analysis):
    assert face_analysis.detect(to_bgr(torch.zeros(100, 300, 3))) == []
    message = str(face_analysis.no_face(100, 300))
    assert "300x100" in message and "128x128 and 640x640" in message and "min_confidence" in message


def test_annotation_marks_faces_and_leaves_the_photo_alone(face_analysis, t1):
    before = t1.clone()
    faces = face_analysis.detect(to_bgr(t1[0]))
    marked = as_batch([annotate(to_bgr(t1[0]), faces, faces[:1])])[0]
    assert torch.equal(t1, before)
    assert marked.shape == t1[0].shape and marked.dtype == torch.float32
    x, y = (round(float(v)) for v in faces[0].bbox[[0, 1]])
    changed = (marked - t1[0]).abs().amax(-1) > 0.1
    assert changed[y : y + 200, x - 3 : x + 4].float().mean() > 0.3  # the box's left edge
    assert changed.float().mean() < 0.2


def test_packs_are_found_also_in_a_nested_folder(tmp_path):
    save_pack(tmp_path / "models" / "buffalo_l", FACES)
    save_pack(tmp_path / "models" / "antelopev2" / "antelopev2", FACES)
    (tmp_path / "models" / "empty").mkdir()
    save_recogniser(tmp_path / "models" / "inswapper_128.onnx")
    packs = find_packs([str(tmp_path), str(tmp_path / "nowhere")])
    assert set(packs) == {"buffalo_l", "antelopev2"}
    assert FaceAnalysis(packs["antelopev2"]).detect(grey(64, 64))


def broken(folder, what):
    folder.mkdir()
    save_detector(folder / "det_10g.onnx", FACES)
    save_recogniser(folder / "w600k_r50.onnx")
    if what == "no detector":
        (folder / "det_10g.onnx").unlink()
    elif what == "no recogniser":
        (folder / "w600k_r50.onnx").unlink()
    elif what == "gone":
        shutil.rmtree(folder)
    elif what == "truncated":
        data = (folder / "w600k_r50.onnx").read_bytes()
        (folder / "w600k_r50.onnx").write_bytes(data[: len(data) // 2])
    elif what == "no onnx":
        (folder / "w600k_r50.onnx").write_text("<html>not found</html>")
    return folder


@pytest.mark.parametrize("what", ["no detector", "no recogniser", "truncated", "no onnx", "gone"])
def test_broken_packs_name_folder_and_files(tmp_path, what):
    with pytest.raises(FaceGenError) as error:
        FaceAnalysis(broken(tmp_path / "pack", what))
    assert str(tmp_path / "pack") in str(error.value)
    assert what == "gone" or "det_10g.onnx" in str(error.value)


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (torch.full((1, 8, 8, 3), float("nan")), "NaN"),
        (torch.zeros(1, 8, 8, 1), r"\[1, 8, 8, 1\]"),
        (torch.zeros(1, 8, 8, 4), r"\[1, 8, 8, 4\]"),
        (torch.zeros(8, 8, 3), r"\[8, 8, 3\]"),
    ],
)
def test_pictures_of_the_wrong_kind_are_refused(picture, says):
    with pytest.raises(FaceGenError, match=says):
        require_rgb(picture)
