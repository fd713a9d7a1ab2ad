"""NudeNet's detector, on real photos. No photo here is unsafe: faces play that part."""

import importlib.machinery
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from facegen.contract import SAFETY_CHECKER_TYPES
from facegen.errors import BrokenNudeNetError, FaceGenError, MissingNudeNetError, NoVerdictError
from facegen.models.safety import checking, redaction
from facegen.models.safety import nudenet as nudenet_module
from facegen.models.safety.checking import Detection
from facegen.models.safety.load import load_checker
from facegen.models.safety.nudenet import LIMITS, NudeNetChecker
from pictures import resize

FACES = {"FACE_FEMALE": 0.4, "FACE_MALE": 0.4}
PHOTOS = ("astronaut", "t1", "tom_hanks")


@pytest.fixture(scope="module")
def face_checker():
    return NudeNetChecker("CPU", limits=FACES)


@pytest.fixture(scope="module")
def theirs():
    from nudenet import NudeDetector

    return NudeDetector()


@pytest.fixture(scope="module")
def everything():
    """A checker to which every class is unsafe."""
    labels = NudeNetChecker("CPU", limits={}).labels
    return NudeNetChecker("CPU", limits=dict.fromkeys(labels, checking.DEFAULT_THRESHOLD))


@pytest.fixture(params=PHOTOS)
def photo(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("size", [None, (700, 400), (97, 33), (333, 777), (1, 1), (1, 500), (2000, 1500)])
def test_detections_equal_what_nudenet_finds_in_the_file(photo, theirs, everything, tmp_path, size):
    path = tmp_path / "photo.png"
    photo = photo if size is None else (resize(photo, *size) * 255).round() / 255
    Image.fromarray((photo[0].numpy() * 255).round().astype(np.uint8)).save(path)
    expected = theirs.detect(str(path))
    result = everything.check(photo)[0]
    assert [d.label for d in result.detections] == [e["class"] for e in expected]
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (e["box"] for e in expected)]
    assert [d.box for d in result.detections] == boxes
    assert [d.score for d in result.detections] == pytest.approx([e["score"] for e in expected], abs=1e-5)
    assert result.score == max((d.score for d in result.detections), default=0)
    assert size not in (None, (2000, 1500)) or result.detections


@pytest.mark.parametrize("side", [7, 112, 319, 320, 512, 1000, 1300])
def test_resizing_equals_opencv(side):
    import cv2

    levels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ours = nudenet_module._resized(torch.from_numpy(levels).movedim(-1, 0)[None] / 255, 320)[0].movedim(0, -1).numpy()
    assert np.array_equal(ours, cv2.resize(levels, (320, 320)))


def test_half_precision_pictures_are_judged_as_the_same_picture(face_checker, astronaut):
    assert face_checker.check(astronaut.half()) == face_checker.check(astronaut)


def test_only_unsafe_classes_count(nudenet, face_checker, t1):
    safe, faces = nudenet.check(t1)[0], face_checker.check(t1)[0]
    assert safe.score == 0 and not safe.detections
    assert safe.class_scores == faces.class_scores
    assert len(faces.detections) == 6
    assert faces.score == pytest.approx(max(faces.class_scores[label] for label in FACES))


def test_a_batch_is_one_pass_and_judged_picture_by_picture(t1, model):
    checker = NudeNetChecker("CPU", limits=FACES)
    batch = torch.cat([t1, torch.zeros_like(t1), t1.flip(2)])
    together = checker.check(batch)
    assert model.asked == [(3, 3, 320, 320)]
    for picture, result in zip(batch, together, strict=True):
        (alone,) = checker.check(picture[None])
        assert [(d.label, d.box) for d in alone.detections] == [(d.label, d.box) for d in result.detections]
        assert [d.score for d in alone.detections] == pytest.approx([d.score for d in result.detections], abs=1e-5)
    assert [r.score > 0 for r in together] == [True, False, True]


def test_a_long_batch_is_split(monkeypatch, tom_hanks, model):
    monkeypatch.setattr(nudenet_module, "BATCH", 2)
    checker = NudeNetChecker("CPU", limits=FACES)
    batch = torch.cat([tom_hanks, torch.zeros_like(tom_hanks), tom_hanks])
    assert [r.score > 0 for r in checker.check(batch)] == [True, False, True]
    assert [shape[0] for shape in model.asked] == [2, 1]


def test_the_model_runs_on_the_chosen_provider(monkeypatch, model):
    monkeypatch.setattr(nudenet_module.onnx_providers, "resolve", lambda label: [f"{label} provider"])
    load_checker("nudenet", "chosen")
    assert model.providers == [["chosen provider"]]


@pytest.mark.parametrize("safety_checker_type", SAFETY_CHECKER_TYPES)
def test_real_detections_are_hidden_and_nothing_else(face_checker, t1, safety_checker_type):
    results = face_checker.check(t1)
    out, mask, flagged = redaction.redact(t1, results, safety_checker_type, "flagged regions", 0.5)
    assert flagged == [True]
    hidden = mask.bool()
    assert torch.equal(out[~hidden], t1[~hidden])
    over = [d for d in results[0].detections if d.score >= 0.5]
    assert 0 < len(over) < len(results[0].detections)
    for detection in results[0].detections:
        x0, y0, x1, y1 = detection.box
        assert hidden[0, y0:y1, x0:x1].all() == (detection in over)


@pytest.mark.parametrize("region", redaction.REGIONS)
@pytest.mark.parametrize("safety_checker_type", SAFETY_CHECKER_TYPES)
def test_the_checker_finds_no_face_in_what_it_hid(face_checker, t1, astronaut, tom_hanks, safety_checker_type, region):
    crops = (astronaut, resize(astronaut, 1200, 1200), astronaut[:, :256, 80:400], t1, t1[:, 100:700, ::2], tom_hanks)
    for picture in crops:
        before = face_checker.check(picture)
        assert before[0].detections
        out, mask, _ = redaction.redact(picture, before, safety_checker_type, region, 0.25)
        for detection in face_checker.check(out)[0].detections:
            x0, y0, x1, y1 = detection.box
            assert mask[0, y0:y1, x0:x1].mean() < 0.5, detection


@pytest.fixture
def judge(model):
    """What a checker says when the model gives an anchor for each of `boxes`: x centre, y centre, width, height, scores."""

    made = {}

    def judge(*boxes, preset="default", limits=None):
        if (preset, str(limits)) not in made:
            made[preset, str(limits)] = NudeNetChecker("CPU", preset, limits)
        checker = made[preset, str(limits)]
        output = np.zeros((1, 4 + len(checker.labels), 2100), np.float32)
        for anchor, (*box, scores) in enumerate(boxes):
            output[0, :4, anchor] = box
            for label, score in scores.items():
                output[0, 4 + checker.labels.index(label), anchor] = score
        model.answer = lambda *_: [output]
        return checker.check(torch.zeros(1, 320, 320, 3))[0]

    return judge


@pytest.mark.parametrize(
    ("boxes", "safe"),
    [
        ([(160, 160, 100, 80, {"FEMALE_BREAST_EXPOSED": 0.71, "FEMALE_BREAST_COVERED": 0.72})], "FEMALE_BREAST_COVERED"),
        (
            [
                (160, 160, 100, 80, {"FEMALE_BREAST_EXPOSED": 0.71}),
                (165, 165, 100, 80, {"BELLY_EXPOSED": 0.72}),
            ],
            "BELLY_EXPOSED",
        ),
    ],
    ids=["same anchor", "overlapping box"],
)
def test_a_likelier_safe_class_does_not_displace_an_unsafe_one(judge, boxes, safe):
    result = judge(*boxes)
    assert result.score == pytest.approx(0.71)
    assert result.detections == [Detection("FEMALE_BREAST_EXPOSED", result.score, (110, 120, 210, 200))]
    assert result.class_scores == {safe: pytest.approx(0.72), "FEMALE_BREAST_EXPOSED": pytest.approx(0.71)}
    assert checking.is_flagged(result, checking.DEFAULT_THRESHOLD)


def test_safe_classes_alone_flag_nothing(judge):
    result = judge((160, 160, 100, 80, {"BELLY_EXPOSED": 0.9, "BUTTOCKS_EXPOSED": 0.1}))
    assert result.score == 0 and not result.detections
    assert result.class_scores == {"BELLY_EXPOSED": pytest.approx(0.9)}
    with_none = judge((160, 160, 100, 80, {"BUTTOCKS_EXPOSED": 0.9}), limits={})
    assert with_none.score == 0 and with_none.class_scores == {"BUTTOCKS_EXPOSED": pytest.approx(0.9)}


@pytest.mark.parametrize("preset", LIMITS)
def test_each_class_counts_from_its_own_limit_on(judge, preset):
    for label, limit in LIMITS[preset].items():
        for score, unsafe in ((limit + 0.01, True), (limit - 0.01, False)):
            result = judge((160, 160, 100, 80, {label: score}), preset=preset)
            assert checking.is_flagged(result, checking.DEFAULT_THRESHOLD) == unsafe, (label, score)
            if score > 0.25:
                assert result.class_scores == {label: pytest.approx(score)}


def test_presets_are_ordered_and_named():
    assert tuple(LIMITS) == checking.PRESETS
    default, strict, lenient = (LIMITS[p] for p in ("default", "strict", "lenient"))
    assert set(default) == set(lenient) < set(strict)
    assert all(strict[label] < default[label] < lenient[label] for label in default)
    assert [NudeNetChecker("CPU", p).name for p in LIMITS] == ["nudenet", "nudenet strict", "nudenet lenient"]


def test_of_two_unsafe_classes_the_one_further_above_its_limit_counts(judge):
    # Lenient: 0.6 is above the limit of genitalia, 0.62 below that of breasts.
    scores = {"FEMALE_GENITALIA_EXPOSED": 0.6, "FEMALE_BREAST_EXPOSED": 0.62}
    result = judge((160, 160, 100, 80, scores), preset="lenient")
    assert [d.label for d in result.detections] == ["FEMALE_GENITALIA_EXPOSED"]
    assert checking.is_flagged(result, checking.DEFAULT_THRESHOLD)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_gives_no_number_is_an_error(astronaut, model, value):
    model.answer = lambda run, *given: [np.full_like(out, value) for out in run(*given)]
    with pytest.raises(NoVerdictError, match="NaN"):
        NudeNetChecker("CPU").check(astronaut)


def test_an_exception_in_the_model_is_not_swallowed(astronaut, model):
    def fail(*_):
        raise MemoryError("no memory left")

    model.answer = fail
    with pytest.raises(MemoryError, match="no memory left"):
        NudeNetChecker("CPU").check(astronaut)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(BrokenNudeNetError, match="BREAST_EXPOZED"):
        NudeNetChecker("CPU", limits={"BREAST_EXPOZED": 0.4})
    for limit in (0.2, 1.0, float("nan")):
        with pytest.raises(FaceGenError, match="limits must be from 0.25"):
            NudeNetChecker("CPU", limits={"FACE_MALE": limit})
    with pytest.raises(FaceGenError, match="'hard'.*default, strict, lenient"):
        NudeNetChecker("CPU", "hard")
    with pytest.raises(FaceGenError, match="provider"):
        load_checker("nudenet", "abacus")


def test_without_nudenet_the_error_names_the_library_and_its_version(monkeypatch):
    monkeypatch.delitem(sys.modules, "nudenet", raising=False)
    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", lambda *_: None)
    with pytest.raises(MissingNudeNetError, match=r"not installed.*Python library nudenet, 3\.4\.2 or newer"):
        load_checker("nudenet", "CPU")


@pytest.fixture
def other_wheel(monkeypatch, tmp_path):
    """The folder of a NudeNet that is found in place of the installed one."""
    spec = importlib.machinery.ModuleSpec("nudenet", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(nudenet_module.importlib.util, "find_spec", lambda name: spec)
    return tmp_path


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_missing_or_broken_model_file_is_named(other_wheel, content):
    path = other_wheel / "320n.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BrokenNudeNetError, match=re.escape(str(path))):
        load_checker("nudenet", "CPU")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (None, "does not name its classes"),
        ("[", "does not name"),
        ("{1: 'A'}", "does not name"),
        ("{0: 'A'}", "names 1 classes"),
    ],
)
def test_a_model_whose_classes_are_unclear_is_refused(other_wheel, names, says):
    import onnx
    from nudenet import nudenet as module

    model = onnx.load(module.__file__.replace("nudenet.py", "320n.onnx"))
    kept = [entry for entry in model.metadata_props if entry.key != "names"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    if names is not None:
        model.metadata_props.add(key="names", value=names)
    onnx.save(model, other_wheel / "320n.onnx")
    with pytest.raises(BrokenNudeNetError, match=says):
        load_checker("nudenet", "CPU")


def test_the_checker_needs_neither_opencv_nor_the_package_code(monkeypatch, astronaut):
    """So no mix of OpenCV's wheels can break it."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("cv2", "nudenet")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = load_checker("nudenet", "CPU").check(astronaut)[0]
    assert result.class_scores["FACE_FEMALE"] > 0.5
    assert "nudenet" not in sys.modules


def test_waiting_threads_leave_the_cores_to_others():
    """ONNX Runtime's own way is to spin, which makes a busy machine three times slower."""
    options = nudenet_module.onnx_providers.session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
