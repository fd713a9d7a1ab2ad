"""Weights of blocks from a short text."""

import pytest

from facegen.errors import FaceGenError
from facegen.models.identity.layer_weights import PRESETS, parse_layer_weights


def test_layer_weights():
    assert parse_layer_weights("", 4) == [1, 1, 1, 1]
    assert parse_layer_weights(" 0:0.5, 2-3:0 ", 4) == [0.5, 1, 0, 0]
    rising, falling = parse_layer_weights("ease in", 16), parse_layer_weights("Ease Out", 16)
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True) and rising[-1] == falling[0] == 1
    peak = parse_layer_weights("ease in-out", 17)
    assert peak[8] == 1 and peak[0] == peak[-1] == pytest.approx(0.05)
    assert all(len(parse_layer_weights(name, 70)) == 70 for name in PRESETS)


@pytest.mark.parametrize("text", ["4:1", "a:1", "0:", "3-1:1", "0:-1", "0=1", "0:1;1:1"])
def test_unreadable_layer_weights(text):
    with pytest.raises(FaceGenError, match="layer_weights"):
        parse_layer_weights(text, 4)
