"""Safety checkers and redactions, on real photos. No photo here is unsafe: faces play that part."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from facegen.api.contract import SAFETY_CHECKER_TYPES
from facegen.models import redaction, safety
from facegen.models.errors import FaceGenError
from facegen.models.pictures import require_rgb
from facegen.models.safety import Detection, SafetyResult

FACES = ("FACE_FEMALE", "FACE_MALE")
PHOTOS = ("astronaut", "t1", "tom_hanks")
ACTIONS = list(redaction.ACTIONS)
SAFE = SafetyResult(0.0)
UNSAFE = SafetyResult(0.9)


@pytest.fixture(scope="module")
def nudenet():
    return safety.load_checker("nudenet", "CPU")


@pytest.fixture(scope="module")
def face_checker():
    return safety.NudeNetChecker("CPU", FACES)


@pytest.fixture(params=PHOTOS)
def photo(request):
    return request.getfixturevalue(request.param)


def resize(images, height, width):
    small = F.interpolate(images.movedim(-1, 1), size=(height, width), mode="bicubic", antialias=True)
    return small.movedim(1, -1).clamp(0, 1)


def boxed(*boxes, score=0.9):
    return SafetyResult(score, [Detection("PART", score, box) for box in boxes])


# NudeNet


def test_real_portraits_pass_bit_for_bit(nudenet, photo):
    results = nudenet.check(photo)
    out, mask, flagged = redaction.redact(photo, results, "black", "whole image", safety.DEFAULT_THRESHOLD)
    assert flagged == [False]
    assert torch.equal(out, photo)
    assert out.untyped_storage().data_ptr() != photo.untyped_storage().data_ptr()
    assert not mask.any()


def test_detections_equal_what_nudenet_finds_in_the_file(photo, tmp_path):
    from nudenet import NudeDetector
    from nudenet import nudenet as module

    path = tmp_path / "photo.png"
    Image.fromarray((photo[0].numpy() * 255).round().astype(np.uint8)).save(path)
    expected = NudeDetector().detect(str(path))

    result = safety.NudeNetChecker("CPU", getattr(module, "__labels")).check(photo)[0]
    found = [(d.label, d.score, d.box) for d in result.detections]
    assert found == [
        (e["class"], e["score"], (e["box"][0], e["box"][1], e["box"][0] + e["box"][2], e["box"][1] + e["box"][3]))
        for e in expected
    ]
    assert found
    assert result.score == max(score for _, score, _ in found)


def test_half_precision_pictures_are_judged_as_the_same_picture(face_checker, astronaut):
    assert face_checker.check(astronaut.half()) == face_checker.check(astronaut)


def test_only_unsafe_classes_count(nudenet, face_checker, t1):
    safe, faces = nudenet.check(t1)[0], face_checker.check(t1)[0]
    assert safe.score == 0 and not safe.detections
    assert safe.class_scores == faces.class_scores
    assert len(faces.detections) == 6
    assert faces.score == max(faces.class_scores[label] for label in FACES)


def test_a_batch_is_judged_picture_by_picture(face_checker, t1):
    batch = torch.cat([t1, torch.zeros_like(t1), t1.flip(2)])
    singly = [face_checker.check(picture[None])[0] for picture in batch]
    assert face_checker.check(batch) == singly
    assert [r.score > 0 for r in singly] == [True, False, True]


def test_the_model_runs_on_the_chosen_provider(monkeypatch):
    import onnxruntime

    real, asked = onnxruntime.InferenceSession, {}

    def session(path, providers=None):
        made = real(path, providers=["CPUExecutionProvider"])
        asked[id(made)] = providers
        return made

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(safety.onnx_providers, "resolve", lambda label: [f"{label} provider"])
    checker = safety.load_checker("nudenet", "chosen")
    assert asked[id(checker._detector.onnx_session._session)] == ["chosen provider"]


@pytest.mark.parametrize("action", ACTIONS)
def test_real_detections_are_hidden_and_nothing_else(face_checker, t1, action):
    results = face_checker.check(t1)
    out, mask, flagged = redaction.redact(t1, results, action, "flagged regions", 0.5)
    assert flagged == [True]
    hidden = mask.bool()
    assert torch.equal(out[~hidden], t1[~hidden])
    over = [d for d in results[0].detections if d.score >= 0.5]
    assert 0 < len(over) < len(results[0].detections)
    for detection in results[0].detections:
        x0, y0, x1, y1 = detection.box
        assert hidden[0, y0:y1, x0:x1].all() == (detection in over)


@pytest.mark.parametrize("region", redaction.REGIONS)
@pytest.mark.parametrize("action", ACTIONS)
def test_the_checker_finds_no_face_in_what_it_hid(face_checker, t1, astronaut, tom_hanks, action, region):
    crops = (astronaut, resize(astronaut, 1200, 1200), astronaut[:, :256, 80:400], t1, t1[:, 100:700, ::2], tom_hanks)
    for picture in crops:
        before = face_checker.check(picture)
        assert before[0].detections
        out, mask, _ = redaction.redact(picture, before, action, region, 0.25)
        for detection in face_checker.check(out)[0].detections:
            x0, y0, x1, y1 = detection.box
            assert mask[0, y0:y1, x0:x1].mean() < 0.5, detection


def judge(monkeypatch, *boxes, unsafe_classes=safety.UNSAFE_CLASSES):
    """What a checker says when the model gives an anchor for each of `boxes`: x centre, y centre, width, height, scores."""
    from nudenet import nudenet as module

    labels = getattr(module, "__labels")
    output = np.zeros((1, 4 + len(labels), 2100), np.float32)
    for anchor, (*box, scores) in enumerate(boxes):
        output[0, :4, anchor] = box
        for label, score in scores.items():
            output[0, 4 + labels.index(label), anchor] = score
    runs = []
    checker = safety.NudeNetChecker("CPU", unsafe_classes)
    session = SimpleNamespace(run=lambda *args: runs.append(args) or [output])
    monkeypatch.setattr(checker._detector.onnx_session, "_session", session)
    result = checker.check(torch.zeros(1, 320, 320, 3))[0]
    assert len(runs) == 1
    return result


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
def test_a_likelier_safe_class_does_not_displace_an_unsafe_one(monkeypatch, boxes, safe):
    result = judge(monkeypatch, *boxes)
    assert result.score == pytest.approx(0.71)
    assert result.detections == [Detection("FEMALE_BREAST_EXPOSED", result.score, (110, 120, 210, 200))]
    assert result.class_scores == {safe: pytest.approx(0.72), "FEMALE_BREAST_EXPOSED": result.score}
    assert safety.is_flagged(result, safety.DEFAULT_THRESHOLD)


def test_safe_classes_alone_flag_nothing(monkeypatch):
    result = judge(monkeypatch, (160, 160, 100, 80, {"BELLY_EXPOSED": 0.9, "BUTTOCKS_EXPOSED": 0.1}))
    assert result.score == 0 and not result.detections
    assert result.class_scores == {"BELLY_EXPOSED": pytest.approx(0.9)}
    with_none = judge(monkeypatch, (160, 160, 100, 80, {"BUTTOCKS_EXPOSED": 0.9}), unsafe_classes=())
    assert with_none.score == 0 and with_none.class_scores == {"BUTTOCKS_EXPOSED": pytest.approx(0.9)}


# Redactions


def test_the_contract_offers_the_same_redactions():
    assert set(redaction.ACTIONS) == set(SAFETY_CHECKER_TYPES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("size", [(16, 16), (1, 1), (7, 3), (512, 512), (200, 600), (600, 200), (97, 33)])
@pytest.mark.parametrize("region", redaction.REGIONS)
@pytest.mark.parametrize("action", ACTIONS)
def test_only_the_flagged_picture_of_a_batch_changes(astronaut, action, region, size, dtype):
    height, width = size
    batch = resize(astronaut, height, width).repeat(3, 1, 1, 1).to(dtype)
    before = batch.clone()
    result = boxed((width // 4, height // 4, width // 4 + max(1, width // 2), height // 4 + max(1, height // 2)))
    out, mask, flagged = redaction.redact(batch, [SAFE, result, SAFE], action, region, 0.5)

    assert flagged == [False, True, False]
    assert torch.equal(batch, before)
    assert out.shape == batch.shape and out.dtype == dtype
    assert torch.equal(out[[0, 2]], batch[[0, 2]])
    assert mask.shape == batch.shape[:3] and mask.dtype == torch.float32
    assert not mask[[0, 2]].any()
    hidden = mask[1].bool()
    assert hidden.all() if region == "whole image" else hidden.any()
    assert torch.equal(out[1][~hidden], batch[1][~hidden])
    if min(size) > 1:
        assert not torch.equal(out[1][hidden], batch[1][hidden])
    assert torch.isfinite(out).all() and out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("side", [16, 64, 512, 1024])
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_finer_than_a_cell_survives(astronaut, action, side):
    # The same picture with the pixels of every cell shuffled: who sees the redaction can't tell which it was.
    n, cell = redaction.CELLS, side // redaction.CELLS
    picture = resize(astronaut, side, side)
    cells = picture.reshape(n, cell, n, cell, 3).movedim(2, 1).flatten(2, 3)
    shuffled = cells[:, :, torch.randperm(cell * cell, generator=torch.Generator().manual_seed(0))]
    shuffled = shuffled.unflatten(2, (cell, cell)).movedim(1, 2).reshape(picture.shape)
    assert (shuffled - picture).abs().mean() > 0.05
    pair = [redaction.redact(p, [UNSAFE], action, "whole image", 0.5)[0] for p in (picture, shuffled)]
    torch.testing.assert_close(*pair, rtol=0, atol=1e-4)


@pytest.mark.parametrize("side", [64, 512, 1024])
def test_a_blur_has_no_detail_at_any_resolution(astronaut, side):
    def energy_of_detail(picture):  # above eight cycles across the picture
        spectrum = torch.fft.rfft2(picture[0].mean(-1) - picture.mean()).abs().square()
        return spectrum[9:-8, :].sum() + spectrum[:, 9:].sum()

    picture = resize(astronaut, side, side)
    out, _, _ = redaction.redact(picture, [UNSAFE], "blur", "whole image", 0.5)
    # Not zero, because the Fourier transform sees the jump from each edge to the opposite one.
    assert energy_of_detail(out) < 0.1 * energy_of_detail(picture)


@pytest.mark.parametrize("side", [2, 3, 4])
@pytest.mark.parametrize("action", ["blur", "pixelate"])
def test_even_a_tiny_picture_keeps_no_pixel(action, side):
    picture = torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(0))
    out, _, _ = redaction.redact(picture, [UNSAFE], action, "whole image", 0.5)
    assert not (out == picture).any()


def test_a_blurred_edge_stays_between_black_and_white():
    picture = torch.zeros(1, 64, 64, 3)
    picture[:, :, 32:] = 1
    out, _, _ = redaction.redact(picture, [UNSAFE], "blur", "whole image", 0.5)
    assert out.min() >= 0 and out.max() <= 1


def test_a_hidden_region_takes_nothing_from_outside_it(astronaut):
    # A region is computed from its own pixels only, so its sharp neighbours can't bleed into it.
    other = astronaut.clone()
    other[:, :, 300:] = 0
    result = boxed((100, 100, 200, 200))
    pair = [redaction.redact(p, [result], "blur", "flagged regions", 0.5)[0] for p in (astronaut, other)]
    assert torch.equal(pair[0][:, 80:220, 80:220], pair[1][:, 80:220, 80:220])


def test_black_is_black(astronaut):
    out, mask, _ = redaction.redact(astronaut, [UNSAFE], "black", "whole image", 0.5)
    assert not out.any() and mask.all()


@pytest.mark.parametrize("size", [(512, 512), (200, 600), (600, 200), (64, 64)])
def test_the_notice_is_readable_centred_and_holds_nothing_of_the_picture(astronaut, size):
    pictures = torch.cat([resize(astronaut, *size), torch.rand(1, *size, 3)])
    out, _, _ = redaction.redact(pictures, [UNSAFE, UNSAFE], "sensitive_content_text", "whole image", 0.5)
    assert torch.equal(out[0], out[1])
    ink = (out[0, ..., 0] > 0.5).nonzero().float()
    top_left, bottom_right = ink.amin(0), ink.amax(0)
    extent = (bottom_right - top_left) / torch.tensor(size)
    assert extent.max() > 0.6 and extent.max() < 0.9
    centre = (top_left + bottom_right) / 2 / torch.tensor(size)
    assert (centre - 0.5).abs().max() < 0.06
    assert out[0].mean() < 0.35


def test_regions_are_padded_and_clipped(astronaut):
    result = boxed((100, 200, 200, 240), (500, 0, 512, 10))
    _, mask, _ = redaction.redact(astronaut, [result], "black", "flagged regions", 0.5)
    expected = torch.zeros_like(mask)
    expected[:, 196:244, 90:210] = 1
    expected[:, 0:11, 498:512] = 1
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("result", [UNSAFE, boxed((600, 10, 700, 50)), boxed((10, 10, 50, 50), (600, 10, 700, 50))])
def test_without_usable_boxes_the_whole_picture_is_hidden(astronaut, result):
    _, mask, _ = redaction.redact(astronaut, [result], "black", "flagged regions", 0.5)
    assert mask.all()


def test_the_threshold_is_inclusive_and_zero_hides_everything(astronaut):
    for threshold, score, expected in ((0.5, 0.5, True), (0.5, 0.499, False), (0.0, 0.0, True), (1.0, 0.999, False)):
        assert redaction.redact(astronaut, [SafetyResult(score)], "black", "whole image", threshold)[2] == [expected]


def test_the_report_is_json_without_pixels(face_checker, t1):
    batch = torch.cat([t1, torch.zeros_like(t1)])
    report = json.loads(json.dumps(safety.report(face_checker.check(batch), 0.4, face_checker.name)))
    assert report["checker"] == "nudenet" and report["threshold"] == 0.4
    assert [p["flagged"] for p in report["pictures"]] == [True, False]
    first, second = report["pictures"]
    assert set(first) == {"flagged", "score", "class_scores", "detections"}
    assert len(first["detections"]) == 6
    assert all(set(d) == {"label", "score", "box"} and len(d["box"]) == 4 for d in first["detections"])
    assert first["score"] == max(d["score"] for d in first["detections"])
    assert second == {"flagged": False, "score": 0.0, "class_scores": {}, "detections": []}


# What can't be judged is an error


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 8, 9, 4), r"\[1, 8, 9, 4\].*Split Image with Alpha"),
        (torch.zeros(1, 8, 9, 1), r"\[1, 8, 9, 1\].*Convert Mask to Image"),
        (torch.zeros(1, 8, 9), r"\[1, 8, 9\].*Convert Mask to Image"),
        (torch.zeros(0, 8, 9, 3), r"\[0, 8, 9, 3\].*empty"),
        (torch.zeros(1, 8, 0, 3), r"\[1, 8, 0, 3\].*empty"),
        (torch.zeros(1, 3, 8, 9), r"\[1, 3, 8, 9\]"),
        (torch.zeros(1, 8, 9, 3, dtype=torch.uint8), r"torch.uint8.*255"),
        (torch.full((1, 8, 9, 3), float("nan")), r"\[1, 8, 9, 3\].*NaN"),
        (torch.full((1, 8, 9, 3), float("inf")), r"infinity"),
        (np.zeros((1, 8, 9, 3), np.float32), "ndarray"),
    ],
)
def test_other_pictures_are_refused(nudenet, images, message):
    with pytest.raises(FaceGenError, match=f"(?s)Some Node.*{message}"):
        require_rgb(images, "Some Node")
    with pytest.raises(FaceGenError, match=message):
        nudenet.check(images)
    with pytest.raises(FaceGenError, match=message):
        redaction.redact(images, [SAFE], "black", "whole image", 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([SAFE], "mosaic", "whole image", 0.5), "mosaic.*black, blur, pixelate, sensitive_content_text"),
        (([SAFE], "black", "faces", 0.5), "faces.*whole image, flagged regions"),
        (([SAFE], "black", "whole image", float("nan")), "threshold"),
        (([SAFE], "black", "whole image", 1.5), "threshold"),
        (([], "black", "whole image", 0.5), "0 of 1"),
        (([SAFE, SAFE], "black", "whole image", 0.5), "2 of 1"),
    ],
)
def test_redactions_that_make_no_sense_are_refused(astronaut, arguments, message):
    with pytest.raises(FaceGenError, match=message):
        redaction.redact(astronaut, *arguments)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.5])
def test_scores_that_make_no_sense_are_refused(score):
    with pytest.raises(FaceGenError, match="0-1"):
        SafetyResult(score)
    with pytest.raises(FaceGenError, match="0-1"):
        SafetyResult(0.1, [Detection("PART", score, (0, 0, 1, 1))])
    with pytest.raises(FaceGenError, match="0-1"):
        SafetyResult(0.1, class_scores={"PART": score})


def test_a_nan_score_that_slips_through_flags_the_picture(astronaut):
    careless = SimpleNamespace(score=float("nan"), detections=(), class_scores={})
    assert redaction.redact(astronaut, [careless], "black", "whole image", 0.5)[2] == [True]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_gives_no_number_is_an_error(astronaut, monkeypatch, value):
    checker = safety.NudeNetChecker("CPU")
    session = checker._detector.onnx_session._session
    broken = SimpleNamespace(run=lambda *args: [np.full_like(out, value) for out in session.run(*args)])
    monkeypatch.setattr(checker._detector.onnx_session, "_session", broken)
    with pytest.raises(FaceGenError, match="NaN"):
        checker.check(astronaut)


def test_an_exception_in_the_checker_is_not_swallowed(astronaut, monkeypatch):
    checker = safety.NudeNetChecker("CPU")

    def fail(*_):
        raise MemoryError("no memory left")

    monkeypatch.setattr(checker._detector.onnx_session._session, "run", fail)
    with pytest.raises(MemoryError, match="no memory left"):
        checker.check(astronaut)


def test_unknown_names_are_refused():
    with pytest.raises(FaceGenError, match=r"'nosuch'.*nudenet"):
        safety.load_checker("nosuch")
    with pytest.raises(FaceGenError, match="BREAST_EXPOZED"):
        safety.NudeNetChecker("CPU", ["BREAST_EXPOZED"])
    with pytest.raises(FaceGenError, match="provider"):
        safety.load_checker("nudenet", "abacus")


def test_without_nudenet_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(FaceGenError, match="pip install -U nudenet"):
        safety.load_checker("nudenet", "CPU")


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_missing_or_broken_model_file_is_named(monkeypatch, tmp_path, content):
    from nudenet import nudenet as module

    monkeypatch.setattr(module, "__file__", str(tmp_path / "nudenet.py"))
    path = tmp_path / "320n.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FaceGenError, match=re.escape(str(path))):
        safety.load_checker("nudenet", "CPU")


def test_importing_the_engine_imports_no_detector():
    root = sys.modules["facegen"].__path__[0]
    code = f"""
import importlib.util, sys
root = {root!r}
spec = importlib.util.spec_from_file_location("facegen", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["facegen"] = importlib.util.module_from_spec(spec)
from facegen.models import redaction, safety
heavy = {{"nudenet", "onnxruntime", "cv2", "comfy_api"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
