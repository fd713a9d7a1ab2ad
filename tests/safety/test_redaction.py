"""Redactions: what is shown instead, on real photos."""

from types import SimpleNamespace

import pytest
import torch

from facegen.contract import SAFETY_CHECKER_TYPES
from facegen.errors import FaceGenError
from facegen.models.safety import redaction
from facegen.models.safety.checking import SafetyResult
from pictures import SAFE, UNSAFE, boxed, resize

EACH_TYPE = pytest.mark.parametrize("safety_checker_type", SAFETY_CHECKER_TYPES)


def test_the_contract_offers_the_same_redactions():
    assert tuple(redaction.REDACTIONS) == SAFETY_CHECKER_TYPES


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("size", [(16, 16), (1, 1), (7, 3), (512, 512), (200, 600), (600, 200), (97, 33)])
@pytest.mark.parametrize("region", redaction.REGIONS)
@EACH_TYPE
def test_only_the_flagged_picture_of_a_batch_changes(astronaut, safety_checker_type, region, size, dtype):
    height, width = size
    batch = resize(astronaut, height, width).repeat(3, 1, 1, 1).to(dtype)
    before = batch.clone()
    result = boxed((width // 4, height // 4, width // 4 + max(1, width // 2), height // 4 + max(1, height // 2)))
    out, mask, flagged = redaction.redact(batch, [SAFE, result, SAFE], safety_checker_type, region, 0.5)

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
@EACH_TYPE
def test_nothing_finer_than_a_cell_survives(astronaut, safety_checker_type, side):
    # The same picture with the pixels of every cell shuffled: who sees the redaction can't tell which it was.
    n, cell = redaction.CELLS, side // redaction.CELLS
    picture = resize(astronaut, side, side)
    cells = picture.reshape(n, cell, n, cell, 3).movedim(2, 1).flatten(2, 3)
    shuffled = cells[:, :, torch.randperm(cell * cell, generator=torch.Generator().manual_seed(0))]
    shuffled = shuffled.unflatten(2, (cell, cell)).movedim(1, 2).reshape(picture.shape)
    assert (shuffled - picture).abs().mean() > 0.05
    pair = [redaction.redact(p, [UNSAFE], safety_checker_type, "whole image", 0.5)[0] for p in (picture, shuffled)]
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
@pytest.mark.parametrize("safety_checker_type", ["blur", "pixelate"])
def test_even_a_tiny_picture_keeps_no_pixel(safety_checker_type, side):
    picture = torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(0))
    out, _, _ = redaction.redact(picture, [UNSAFE], safety_checker_type, "whole image", 0.5)
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


def test_regions_are_padded_and_clipped(astronaut):
    result = boxed((100, 200, 200, 240), (500, 0, 512, 10))
    _, mask, _ = redaction.redact(astronaut, [result], "black", "flagged regions", 0.5)
    expected = torch.zeros_like(mask)
    expected[:, 196:244, 90:210] = 1
    expected[:, 0:11, 498:512] = 1
    assert torch.equal(mask, expected)


def test_overlapping_boxes_are_hidden_as_one(astronaut):
    apart, joined = (20, 300, 60, 340), [(100, 100, 200, 200), (180, 150, 280, 260), (270, 250, 300, 300)]
    out, mask, _ = redaction.redact(astronaut, [boxed(apart, *joined)], "pixelate", "flagged regions", 0.5)
    expected = torch.zeros_like(mask)
    expected[:, 90:305, 90:303] = expected[:, 296:344, 16:64] = 1
    assert torch.equal(mask, expected)
    assert len(out[0, 90:305, 90:303].reshape(-1, 3).unique(dim=0)) <= redaction.CELLS**2


def test_merging_boxes():
    assert redaction.merged([(0, 0, 10, 10), (20, 20, 30, 30), (5, 5, 25, 25), (40, 0, 50, 10)]) == [
        (0, 0, 30, 30),
        (40, 0, 50, 10),
    ]
    touching = [(0, 0, 10, 10), (10, 0, 20, 10)]
    assert redaction.merged(touching) == touching


@pytest.mark.parametrize("result", [UNSAFE, boxed((600, 10, 700, 50)), boxed((10, 10, 50, 50), (600, 10, 700, 50))])
def test_without_usable_boxes_the_whole_picture_is_hidden(astronaut, result):
    _, mask, _ = redaction.redact(astronaut, [result], "black", "flagged regions", 0.5)
    assert mask.all()


def test_the_threshold_is_inclusive_and_zero_hides_everything(astronaut):
    for threshold, score, expected in ((0.5, 0.5, True), (0.5, 0.499, False), (0.0, 0.0, True), (1.0, 0.999, False)):
        assert redaction.redact(astronaut, [SafetyResult(score)], "black", "whole image", threshold)[2] == [expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([SAFE], "mosaic", "whole image", 0.5), "mosaic.*black, blur, pixelate, sensitive_content_text"),
        (([SAFE], "black", "faces", 0.5), "faces.*whole image, flagged regions"),
        (([SAFE], "black", "whole image", float("nan")), "threshold"),
        (([SAFE], "black", "whole image", 1.5), "threshold"),
        (([], "black", "whole image", 0.5), "0 of 1"),
        (([SAFE, SAFE], "black", "whole image", 0.5), "2 of 1"),
        (([SAFE], "sensitive_content_text", "whole image", 0.5, " \n"), "notice is empty"),
        (([SAFE], "sensitive_content_text", "whole image", 0.5, "a " * 101), "202 characters; 200"),
        (([SAFE], "sensitive_content_text", "whole image", 0.5, "été"), "lacks é"),
    ],
)
def test_redactions_that_make_no_sense_are_refused(astronaut, arguments, message):
    with pytest.raises(FaceGenError, match=message):
        redaction.redact(astronaut, *arguments)


def test_a_nan_score_that_slips_through_flags_the_picture(astronaut):
    careless = SimpleNamespace(score=float("nan"), detections=(), class_scores={})
    assert redaction.redact(astronaut, [careless], "black", "whole image", 0.5)[2] == [True]
