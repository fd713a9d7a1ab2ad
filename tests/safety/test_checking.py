"""Verdicts: their scale, their report, several checkers as one, and what can't be judged."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from facegen.errors import (
    AlphaChannelError,
    BadPicturesError,
    FaceGenError,
    NoPicturesError,
    NotFiniteError,
    NoVerdictError,
    OneChannelError,
)
from facegen.models.pictures import require_rgb
from facegen.models.safety import checking, redaction
from facegen.models.safety.checking import CombinedChecker, Detection, SafetyResult
from facegen.models.safety.load import load_checker
from pack import LOAD
from pictures import SAFE, UNSAFE, StubChecker, boxed

PICTURES = torch.zeros(2, 60, 80, 3)


@pytest.mark.parametrize("limit", [0.25, 0.4, 0.5, 0.65])
def test_the_scale_has_every_limit_at_the_default_threshold(limit):
    scores = np.linspace(0, 1, 1001)
    scaled = checking.on_scale(scores, limit)
    assert scaled[0] == 0 and scaled[-1] == 1 and (np.diff(scaled) > 0).all()
    assert np.array_equal(scaled >= checking.DEFAULT_THRESHOLD, scores >= limit)
    if limit == checking.DEFAULT_THRESHOLD:
        assert np.allclose(scaled, scores, atol=1e-12)
    assert np.isnan(checking.on_scale(float("nan"), limit))


def test_the_report_is_json_without_pixels():
    detections = [Detection("PART", np.float32(0.75), (1, 2, 3, 4)), Detection("OTHER", 0.5, (0, 0, 1, 1))]
    results = [SafetyResult(np.float64(0.75), detections, {"PART": np.float32(0.75)}), SAFE]
    report = json.loads(json.dumps(checking.report(results, 0.4, "nudenet")))
    assert report == {
        "checker": "nudenet",
        "threshold": 0.4,
        "pictures": [
            {
                "flagged": True,
                "score": 0.75,
                "class_scores": {"PART": 0.75},
                "detections": [
                    {"label": "PART", "score": 0.75, "box": [1, 2, 3, 4]},
                    {"label": "OTHER", "score": 0.5, "box": [0, 0, 1, 1]},
                ],
            },
            {"flagged": False, "score": 0.0, "class_scores": {}, "detections": []},
        ],
    }


# Several checkers as one


def named(name, *results, error=None):
    checker = StubChecker(*results, error=error)
    checker.name = name
    return checker


@pytest.mark.parametrize(("when", "expected"), [("any", [True, True, True, False]), ("all", [True, False, False, False])])
def test_any_and_all(when, expected):
    first = named("a", boxed((0, 0, 9, 9)), boxed((0, 0, 9, 9)), SAFE, SAFE)
    second = named("b", SafetyResult(0.5), SAFE, UNSAFE, SafetyResult(0.39))
    images = torch.zeros(4, 60, 80, 3)
    results = CombinedChecker([first, second], when).check(images)
    assert [checking.is_flagged(r, 0.4) for r in results] == expected
    assert results[0].score == (0.9 if when == "any" else 0.5)
    assert results[0].checkers == {"a": 0.9, "b": 0.5}
    assert checking.report(results, 0.4, "x")["pictures"][0]["checkers"] == {"a": 0.9, "b": 0.5}


def test_with_any_an_alarm_without_a_place_hides_the_whole_picture():
    located, vague = named("a", boxed((10, 10, 20, 20))), named("b", UNSAFE)
    results = CombinedChecker([located, vague]).check(PICTURES[:1])
    assert {d.box for d in results[0].detections} == {(10, 10, 20, 20), (0, 0, 80, 60)}
    assert redaction.redact(PICTURES[:1], results, "black", "flagged regions", 0.4)[1].all()


def test_what_is_no_alarm_hides_nothing_but_the_boxes():
    located, vague = named("a", boxed((10, 10, 20, 20))), named("b", SafetyResult(0.3))
    results = CombinedChecker([located, vague]).check(PICTURES[:1])
    assert redaction.redact(PICTURES[:1], results, "black", "flagged regions", 0.4)[1].sum() == 144


def test_with_all_the_checker_that_knows_the_place_decides_it():
    located, vague = named("a", boxed((10, 10, 20, 20))), named("b", UNSAFE)
    results = CombinedChecker([located, vague], "all").check(PICTURES[:1])
    assert [d.box for d in results[0].detections] == [(10, 10, 20, 20)]


def test_combinations_name_and_keep_apart_their_checkers():
    twice = [named("a", SafetyResult(0.1, (), {"x": 0.1})), named("a", SafetyResult(0.2, (), {"x": 0.2}))]
    inner = CombinedChecker(twice, "all")
    outer = CombinedChecker([inner, named("b", SafetyResult(0.3, (), {"y": 0.3}))])
    assert outer.name == "any of: all of: a, a, b"
    (result,) = outer.check(PICTURES[:1])
    assert result.checkers == {"all of: a, a": 0.1, "b": 0.3}
    assert result.class_scores == {"all of: a, a/a 1/x": 0.1, "all of: a, a/a 2/x": 0.2, "b/y": 0.3}


@pytest.mark.parametrize("when", checking.COMBINE)
def test_an_error_or_a_missing_verdict_of_one_checker_is_an_error_of_all(when):
    with pytest.raises(RuntimeError, match="no verdict"):
        CombinedChecker([named("a", UNSAFE), named("b", error=RuntimeError("no verdict"))], when).check(PICTURES[:1])
    with pytest.raises(NoVerdictError, match="1 of 2"):
        CombinedChecker([named("a", UNSAFE, UNSAFE), named("b", UNSAFE)], when).check(PICTURES)


def test_combinations_that_make_no_sense():
    with pytest.raises(FaceGenError, match="'most'.*any, all"):
        CombinedChecker([named("a")], "most")
    with pytest.raises(FaceGenError, match="at least one"):
        CombinedChecker([])


# What can't be judged is an error


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (torch.zeros(1, 8, 9, 4), AlphaChannelError, r"\[1, 8, 9, 4\].*fourth channel is alpha"),
        (torch.zeros(1, 8, 9, 1), OneChannelError, r"\[1, 8, 9, 1\].*one channel"),
        (torch.zeros(1, 8, 9), OneChannelError, r"\[1, 8, 9\].*mask"),
        (torch.zeros(0, 8, 9, 3), NoPicturesError, r"\[0, 8, 9, 3\].*empty"),
        (torch.zeros(1, 8, 0, 3), NoPicturesError, r"\[1, 8, 0, 3\].*empty"),
        (torch.zeros(1, 3, 8, 9), BadPicturesError, r"\[1, 3, 8, 9\]"),
        (torch.zeros(1, 8, 9, 3, dtype=torch.uint8), BadPicturesError, r"torch.uint8.*255"),
        (torch.full((1, 8, 9, 3), float("nan")), NotFiniteError, r"\[1, 8, 9, 3\].*NaN"),
        (torch.full((1, 8, 9, 3), float("inf")), NotFiniteError, r"infinity"),
        (np.zeros((1, 8, 9, 3), np.float32), BadPicturesError, "ndarray"),
    ],
)
def test_other_pictures_are_refused(nudenet, images, kind, message):
    with pytest.raises(BadPicturesError, match=f"(?s){message}") as error:
        require_rgb(images)
    assert type(error.value) is kind
    with pytest.raises(kind, match=message):
        nudenet.check(images)
    with pytest.raises(kind, match=message):
        redaction.redact(images, [SAFE], "black", "whole image", 0.5)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.5])
def test_scores_that_make_no_sense_are_refused(score):
    with pytest.raises(NoVerdictError, match="0-1"):
        SafetyResult(score)
    with pytest.raises(NoVerdictError, match="0-1"):
        SafetyResult(0.1, [Detection("PART", score, (0, 0, 1, 1))])
    with pytest.raises(NoVerdictError, match="0-1"):
        SafetyResult(0.1, class_scores={"PART": score})
    with pytest.raises(NoVerdictError, match="0-1"):
        SafetyResult(0.1, checkers={"a": score})


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(FaceGenError, match=r"'nosuch'.*nudenet"):
        load_checker("nosuch")
    with pytest.raises(FaceGenError, match=rf"'nosuch'.*{tmp_path.name}.*nudenet"):
        load_checker("nosuch", folders=[tmp_path])


def test_importing_the_engine_imports_no_detector():
    code = f"""{LOAD}
import sys
from facegen.models.safety import checking, filter, load, nudenet, redaction
heavy = {{"nudenet", "onnxruntime", "transformers", "diffusers", "cv2", "comfy_api"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
