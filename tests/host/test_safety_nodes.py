"""Safety nodes inside ComfyUI."""

import json

import pytest
import torch

from facegen.models.errors import FaceGenError
from facegen.models.redaction import ACTIONS, REGIONS
from facegen.models.safety import Detection, SafetyResult

UNSAFE = SafetyResult(0.9, [Detection("PART", 0.9, (100, 100, 200, 200))], {"PART": 0.9})


class StubChecker:
    """Gives the results that it was made with, or raises its error."""

    name = "stub"

    def __init__(self, *results, error=None):
        self.results, self.error = list(results), error

    def check(self, images):
        if self.error:
            raise self.error
        return self.results


@pytest.fixture(scope="module")
def checker(run):
    return run("FaceGenLoadSafetyChecker", checker="nudenet", provider="CPU")[0]


def test_a_safe_photo_passes_bit_for_bit(run, checker, astronaut):
    image, mask, any_flagged, report = run("FaceGenSafetyFilter", image=astronaut, safety_checker=checker)
    assert torch.equal(image, astronaut) and image.dtype == astronaut.dtype
    assert image is not astronaut and image.data_ptr() != astronaut.data_ptr()
    assert mask.shape == (1, 512, 512) and not mask.any()
    assert any_flagged is False
    report = json.loads(report)
    assert (report["checker"], report["threshold"]) == ("nudenet", 0.4)
    (picture,) = report["pictures"]
    assert picture["flagged"] is False and picture["score"] == 0 and picture["detections"] == []
    assert "FACE_FEMALE" in picture["class_scores"]


def test_threshold_zero_hides_a_safe_photo(run, checker, astronaut):
    image, mask, any_flagged, _ = run("FaceGenSafetyFilter", image=astronaut, safety_checker=checker, threshold=0.0)
    assert not image.any() and mask.all() and any_flagged is True


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("action", ACTIONS)
def test_only_the_flagged_picture_of_a_batch_is_hidden(run, astronaut, action, region):
    batch = torch.cat([astronaut, astronaut.flip(2), astronaut.flip(1)])
    before = batch.clone()
    stub = StubChecker(SafetyResult(0.1), UNSAFE, SafetyResult(0.0))
    image, mask, any_flagged, report = run(
        "FaceGenSafetyFilter", image=batch, safety_checker=stub, safety_checker_type=action, region=region
    )
    expected = torch.zeros(3, 512, 512)
    if region == "whole image":
        expected[1] = 1
    else:
        expected[1, 90:210, 90:210] = 1
    assert torch.equal(batch, before)
    assert image.shape == batch.shape and image.dtype == batch.dtype
    assert mask.dtype == torch.float32 and torch.equal(mask, expected)
    hidden = mask.bool()
    assert torch.equal(image[~hidden], batch[~hidden])
    assert (image[hidden] != batch[hidden]).float().mean() > 0.8
    assert any_flagged is True
    assert [picture["flagged"] for picture in json.loads(report)["pictures"]] == [False, True, False]


def test_an_error_of_the_checker_stops_the_run(run, astronaut):
    with pytest.raises(RuntimeError, match="no verdict"):
        run("FaceGenSafetyFilter", image=astronaut, safety_checker=StubChecker(error=RuntimeError("no verdict")))


def test_a_checker_that_skips_a_picture_stops_the_run(run, astronaut):
    with pytest.raises(FaceGenError, match="0 of 1"):
        run("FaceGenSafetyFilter", image=astronaut, safety_checker=StubChecker())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 64, 64, 3), float("nan")), "NaN"),
        (torch.zeros(1, 64, 64, 1), r"\[1, 64, 64, 1\]"),
        (torch.zeros(1, 64, 64, 4), r"\[1, 64, 64, 4\].*Split Image with Alpha"),
    ],
    ids=["NaN", "1 channel", "4 channels"],
)
def test_pictures_that_cannot_be_judged(run, checker, image, message):
    for each in (checker, StubChecker(SafetyResult(0.0))):
        with pytest.raises(FaceGenError, match=f"Safety Filter.*{message}"):
            run("FaceGenSafetyFilter", image=image, safety_checker=each)
