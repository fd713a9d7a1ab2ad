"""The notice in place of a picture."""

import pytest
import torch

from facegen.errors import FaceGenError
from facegen.models.safety.notice import NOTICE, notice_picture, require_notice


def extent(picture):
    """Height and width of what is written, and where its middle is, as fractions of the picture."""
    ink = (picture[..., 0] > 0.5).nonzero().float()
    size = torch.tensor(picture.shape[:2])
    return (ink.amax(0) - ink.amin(0)) / size, (ink.amin(0) + ink.amax(0)) / 2 / size


@pytest.mark.parametrize(
    "size", [(512, 512), (200, 600), (600, 200), (64, 64), (1000, 100), (100, 1000), (2160, 3840), (1, 1), (8, 5), (33, 97)]
)
@pytest.mark.parametrize("text", [NOTICE, "Hidden", "Hidden: this picture breaks the rules of our service. Ask us why!"])
def test_it_is_centred_and_fills_its_area(size, text):
    picture = notice_picture(*size, text)
    assert picture.shape == (*size, 3) and picture.dtype == torch.float32
    assert torch.equal(picture[..., 0], picture[..., 1]) and torch.equal(picture[..., 0], picture[..., 2])
    assert picture.mean() < 0.35 and picture.min() > 0.05
    if min(size) >= 64:
        covered, middle = extent(picture)
        assert 0.6 < covered.max() < 0.9 and covered.min() < 0.9
        assert (middle - 0.5).abs().max() < 0.06


def letters(picture):
    """Height in pixels of the lowest line of letters, whichever way it runs."""
    ink = picture[..., 0] > 0.5
    across = [0 if row else 1 for row in ink.any(1)], [0 if column else 1 for column in ink.any(0)]
    return min(max(map(len, "".join(map(str, blank)).split("1"))) for blank in across)


@pytest.mark.parametrize("size", [(64, 64), (48, 400), (400, 48), (40, 40), (100, 2000), (2000, 100)])
def test_letters_are_large_enough_to_read(size):
    assert letters(notice_picture(*size)) >= max(5, min(size) / 8)


def test_in_a_narrow_area_it_runs_upwards():
    narrow, wide = notice_picture(600, 60), notice_picture(60, 600)
    assert torch.equal(narrow, wide.rot90())


def test_a_long_text_is_broken_into_lines():
    ink = notice_picture(512, 512, "one two three four five six seven eight nine")[..., 0] > 0.5
    rows = "".join("x" if row else " " for row in ink.any(1)).split()
    assert len(rows) > 2


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "empty"), (" \n", "empty"), ("x" * 201, "201 characters; 200"), ("内容 ok", "lacks 内 容"), ("é", "lacks é")],
)
def test_texts_that_cannot_be_drawn(text, says):
    for call in (require_notice, lambda text: notice_picture(64, 64, text)):
        with pytest.raises(FaceGenError, match=says):
            call(text)
