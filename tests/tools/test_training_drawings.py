"""The drawings that the tiny model is trained with: what they show, where the points are, and what captions say."""

from itertools import combinations

import numpy as np
import pytest

from facegen.tools.tiny_model.drawings.drawing import draw
from facegen.tools.tiny_model.drawings.person import STYLES, Person, View, words
from facegen.tools.tiny_model.language import caption


def rng(*seed):
    return np.random.default_rng(seed)


def somebody(seed=0, **attributes):
    """A person with these attributes."""
    return next(p for p in (Person.random(rng(seed, n)) for n in range(10_000)) if attributes.items() <= vars(p).items())


@pytest.mark.parametrize("style", STYLES)
def test_a_seed_is_a_portrait_with_its_points(style):
    person, view = Person.random(rng(1)), View.random(rng(2))
    assert Person.random(rng(1)) == person and View.random(rng(2)) == view
    picture, points = draw(person, view, style)
    assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8 and points.shape == (5, 2)
    for again, same in zip(draw(person, view, style), (picture, points), strict=True):
        assert np.array_equal(again, same)
    assert not np.array_equal(draw(Person.random(rng(3)), view, style)[0], picture)
    assert not np.array_equal(draw(person, View.random(rng(4)), style)[0], picture)


@pytest.mark.parametrize("style", STYLES)
def test_points_lie_on_the_face_and_grow_with_the_picture(style):
    for seed in range(20):
        person, view = Person.random(rng(seed)), View.random(rng(seed, 1))
        _, points = draw(person, view, style)
        assert (points > 10).all() and (points < 118).all()
        left_eye, right_eye, nose, left, right = points
        assert left_eye[0] < right_eye[0] and left[0] < right[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left[1], right[1])
        picture, small = draw(person, view, style, size=64)
        assert picture.shape == (64, 64, 3) and np.allclose(small * 2, points, atol=1e-3)


def test_every_style_looks_its_own_way():
    pictures = [draw(somebody(), View(), style)[0].astype(float) for style in STYLES]
    assert min(np.abs(a - b).mean() for a, b in combinations(pictures, 2)) > 10


def changed_pixels(person, other, style):
    return (draw(person, View(), style)[0] != draw(other, View(), style)[0]).any(axis=-1)


@pytest.mark.parametrize("style", STYLES)
def test_another_hair_colour_leaves_the_rest_of_the_face(style):
    person = somebody(hair_style="short", hair_colour="black", beard="none", glasses="none")
    changed = changed_pixels(person, person.with_hair("green", rng(0)), style)
    x, y = draw(person, View(), style)[1][2:].mean(axis=0).round().astype(int)  # between nose and mouth
    assert changed[:45].mean() > 0.1 and not changed[y - 5 : y + 5, x - 10 : x + 10].any() and not changed[122:].any()


@pytest.mark.parametrize("style", STYLES)
def test_glasses_are_drawn_about_the_eyes(style):
    person = somebody(hair_style="short", beard="none", glasses="none")
    changed = changed_pixels(person, person.with_glasses("square"), style)
    _, points = draw(person, View(), style)
    top, mouth = points[:2, 1].min() - 25, points[3:, 1].min()
    rows = np.flatnonzero(changed.any(axis=1))
    assert changed.sum() > 150 and top < rows.min() and rows.max() < mouth


def test_a_caption_always_says_what_isn_t_as_the_photo_shows_it():
    person = somebody(hair_style="short", hair_colour="black", glasses="none")
    other = person.with_hair("green", rng(0)).with_glasses("round")
    said = words(other, View())
    for seed in range(10):
        text = caption("anime", said, rng(seed), kept=0.0, changed=True)
        assert "green hair" in text and "wearing round glasses" in text and "skin" not in text
        unasked = caption("anime", said, rng(seed), kept=0.0, changed=False)
        assert "green" not in unasked and "glasses" not in unasked and "a portrait" in unasked
        full = caption("anime", said, rng(seed), kept=1.0, changed=False)
        assert [phrase for phrase in said.values() if phrase not in full] == []
