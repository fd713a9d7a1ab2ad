"""The drawings that the tiny model is trained with: what they show, where the points are, and what captions say."""

from dataclasses import fields, replace
from itertools import combinations

import numpy as np
import pytest

from facegen.tools.tiny_model.drawings.drawing import SIZE, draw
from facegen.tools.tiny_model.drawings.person import BEARDS, FRINGES, HAIR_STYLES, KINDS, NO_FRINGE, STYLES, Person, View, words
from facegen.tools.tiny_model.language import caption

AMOUNTS = {"age", "freckles", "blush", "lipstick", "mole", "scar"}
SCALARS = [field.name for field in fields(Person) if field.type == "float" and field.name not in AMOUNTS]


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
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8 and points.shape == (5, 2)
    for again, same in zip(draw(person, view, style), (picture, points), strict=True):
        assert np.array_equal(again, same)
    assert not np.array_equal(draw(Person.random(rng(3)), view, style)[0], picture)
    assert not np.array_equal(draw(person, View.random(rng(4)), style)[0], picture)


@pytest.mark.parametrize("style", STYLES)
def test_points_lie_on_the_face_and_grow_with_the_picture(style):
    for seed in range(20):
        person, view = Person.random(rng(seed)), View.random(rng(seed, 1))
        _, points = draw(person, view, style)
        assert (points > 0.1 * SIZE).all() and (points < 0.9 * SIZE).all()
        left_eye, right_eye, nose, left, right = points
        assert left_eye[0] < right_eye[0] and left[0] < right[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left[1], right[1])
        picture, small = draw(person, view, style, size=64)
        assert picture.shape == (64, 64, 3) and np.allclose(small * (SIZE / 64), points, atol=1e-3)


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
    near, wide = SIZE // 32, SIZE // 20
    assert changed[: SIZE // 3].mean() > 0.1 and not changed[y - near : y + near, x - wide : x + wide].any()
    assert not changed[-SIZE // 20 :].any()


@pytest.mark.parametrize("style", STYLES)
def test_glasses_are_drawn_about_the_eyes(style):
    person = somebody(hair_style="short", beard="none", glasses="none")
    changed = changed_pixels(person, person.with_glasses("square"), style)
    _, points = draw(person, View(), style)
    top, mouth = points[:2, 1].min() - 0.2 * SIZE, points[3:, 1].min()
    rows = np.flatnonzero(changed.any(axis=1))
    assert changed.mean() > 0.01 and top < rows.min() and rows.max() < mouth


@pytest.mark.parametrize("style", STYLES)
def test_every_attribute_shows(style):
    plain = somebody(
        hair_style="short", fringe="side", beard="none", glasses="none", earrings="none", gender="man", freckles=0.0
    )
    plain = replace(plain, mole=0.0, scar=0.0, age=0.0, lipstick=0.0, blush=0.0, **dict.fromkeys(SCALARS, 0.0))
    others = [
        replace(plain, **{name: value}) for name in (*SCALARS, "scar", "mole", "freckles", "age") for value in (-1.0, 1.0)
    ]
    others += [replace(plain, hair_style=name) for name in HAIR_STYLES if name != "short"]
    others += [replace(plain, beard=name) for name in BEARDS[1:]]
    others += [replace(plain, fringe=name) for name in ("none", "straight", "curtain")]
    others += [replace(plain, earrings=name) for name in ("studs", "hoops")]
    hidden = [vars(other) for other in others if changed_pixels(plain, other, style).sum() < 20]
    shown = {name for other in hidden for name, value in other.items() if value != getattr(plain, name)}
    assert shown <= {"mark_place", "scar", "mole", "freckles", "age"}  # below zero there is none


@pytest.mark.parametrize("hair", HAIR_STYLES)
def test_the_vector_tells_what_shows_and_nothing_else(hair):
    for fringe in ("none",) if hair in NO_FRINGE else FRINGES:
        person = somebody(beard="none", glasses="none", age=0.0, mole=0.0, scar=0.0, earrings="none")
        person = replace(person, hair_style=hair, fringe=fringe)
        for name in ("ear_size", "hair_length", "hair_volume", "hairline", "parting", "mark_place"):
            low, high = (replace(person, **{name: value}) for value in (-0.9, 0.9))
            shows = bool(changed_pixels(low, high, "realistic").any())
            assert (not np.array_equal(low.vector(), high.vector())) == shows, (fringe, name)
        ringed = replace(person, earrings="hoops")
        shows = bool(changed_pixels(person, ringed, "realistic").any())
        assert (not np.array_equal(person.vector(), ringed.vector())) == shows == ("earrings" in words(ringed, View()))


@pytest.mark.parametrize("name", ["mole", "scar"])
@pytest.mark.parametrize("style", STYLES)
def test_a_mark_lies_where_the_person_has_it(style, name):
    bare = somebody(hair_style="buzz", beard="none", glasses="none", gender="woman", mole=0.0, scar=0.0)
    left, right = (replace(bare, **{name: 1.0}, mark_place=place) for place in (-0.3, 0.3))
    columns = [np.flatnonzero(changed_pixels(bare, marked, style).any(axis=0)).mean() for marked in (left, right)]
    assert abs(columns[0] - columns[1]) > SIZE / 10


def test_a_vector_tells_every_two_people_apart_and_keeps_its_range():
    vectors = np.stack([Person.random(rng(n)).vector() for n in range(300)])
    assert np.abs(vectors).max() <= 1.0 and vectors.std(axis=0).min() > 0.05
    assert min(np.abs(a - b).max() for a, b in combinations(vectors[:100], 2)) > 0.5


def test_words_are_of_known_kinds():
    kinds = {kind for n in range(300) for kind in words(Person.random(rng(n)), View.random(rng(n, 1)))}
    assert kinds == set(KINDS)


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
