"""Face embeddings: combining, who is not alike, and files."""

import json
import os
import random
import stat
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from facegen.errors import (
    FaceGenError,
    NoFaceError,
    SeveralPeopleError,
    UnreadableFileError,
    WrongClipVisionError,
    WrongRecogniserError,
)
from facegen.models.face.combine import combine_faces, outliers
from facegen.models.face.embeds import NOBODY, FaceEmbeds


def person(seed, rows=1, clip=True, spread=0.2, recogniser="w600k_r50", length=20.0):
    """Rows of one made-up person: a direction and a little of something else, [rows, 512]."""
    g = torch.Generator().manual_seed(seed)
    identity = torch.randn(1, 512, generator=g) + spread * torch.randn(rows, 512, generator=g)
    identity = identity / identity.norm(dim=-1, keepdim=True) * length
    hidden, zero = torch.randn(rows, 257, 16, generator=g), torch.randn(1, 257, 16, generator=g)
    faces = tuple({"bbox": [0.0, 0.0, 1.0, 1.0], "model_pack": "p", "recogniser": recogniser} for _ in range(rows))
    return FaceEmbeds(identity, hidden if clip else None, zero if clip else None, faces)


def finer(faces):
    """The same faces, seen by a CLIP vision model of the same width and more patches."""
    hidden = torch.randn(len(faces), 577, faces.clip_hidden.shape[-1])
    return replace(faces, clip_hidden=hidden, clip_hidden_zero=hidden[:1])


def weights(*values):
    return {f"face_embeds_{n}": value for n, value in enumerate(values, 1)}


def people(*values):
    return weights(*values)


def test_average_is_the_renormalised_mean_of_normalised_identities():
    faces = FaceEmbeds(torch.stack([torch.eye(512)[0] * 10, torch.eye(512)[1] * 30]))
    average = faces.combined("average")
    assert average.identity[0, :2].tolist() == pytest.approx([20 / 2**0.5] * 2)
    assert average.normed_identity.norm().item() == pytest.approx(1) and not average.per_image


def test_weights_move_the_average():
    a, b = person(1, length=10), person(2, length=30)
    both = combine_faces(people(a, b), weights(3.0, 1.0), "average")
    direction = 0.75 * a.normed_identity + 0.25 * b.normed_identity
    assert torch.allclose(both.normed_identity, direction / direction.norm(), atol=1e-6)
    assert both.identity.norm().item() == pytest.approx(0.75 * 10 + 0.25 * 30)
    assert torch.allclose(both.clip_hidden, 0.75 * a.clip_hidden + 0.25 * b.clip_hidden, atol=1e-6)
    assert len(both.faces) == 2 and len(both) == 1
    alone = combine_faces(people(a, b), weights(1.0, 0.0), "average")
    assert torch.allclose(alone.identity, a.identity, atol=1e-4) and len(alone.faces) == 1


def test_each_input_counts_once_however_many_photos_it_holds():
    a, b = person(1, rows=5), person(2)
    both = combine_faces(people(a, b), weights(1.0, 1.0), "average")
    mean = a.combined("average").normed_identity + b.normed_identity
    assert torch.allclose(both.normed_identity, mean / mean.norm(), atol=1e-6)


def test_concat_keeps_each():
    a, b = person(1), person(2)
    both = combine_faces(people(a, b, person(3)), weights(1.0, 1.0, 0.0), "concat")
    assert torch.equal(both.identity, torch.cat([a.identity, b.identity])) and both.clip_hidden.shape[0] == 2
    assert not both.per_image and torch.equal(both.clip_hidden_zero, a.clip_hidden_zero)


def test_subtract_moves_away_and_keeps_the_structure():
    a, b = person(1), person(2)
    mixed = combine_faces(people(a, b), weights(1.0, 1.0), "average")
    less = combine_faces(people(mixed, b), weights(1.0, 0.4), "subtract")
    assert (less.normed_identity @ b.normed_identity.T).item() < (mixed.normed_identity @ b.normed_identity.T).item() - 0.2
    assert torch.equal(less.clip_hidden, mixed.clip_hidden)
    assert less.identity.norm().item() == pytest.approx(mixed.identity.norm().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "scales", "method", "says"),
    [
        ([person(1)], [0.0], "average", "Every weight is 0"),
        ([person(1), person(2)], [0.0, 1.0], "subtract", "face_embeds_1, so its weight"),
        ([person(1), person(1)], [1.0, 1.0], "subtract", "all zero"),
        ([person(1), person(2)], [1.0, 0.5], "concat", "face_embeds_2 has 0.5"),
        ([person(1)], [1.0], "blend", "Choose one of: average, concat, subtract"),
    ],
)
def test_what_does_not_go_together_is_named(given, scales, method, says):
    with pytest.raises(FaceGenError, match=says):
        combine_faces(people(*given), weights(*scales), method)


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ([], NoFaceError, "no faces to combine"),
        ([person(1), person(2, clip=False)], WrongClipVisionError, "face_embeds_2: none"),
        ([person(1), finer(person(2))], WrongClipVisionError, r"257 states of width 16, face_embeds_2: 577 states of width 16"),
        ([person(1), person(2, recogniser="glintr100")], WrongRecogniserError, "face_embeds_2: glintr100"),
        ([person(1, rows=2).combined("one per image")], SeveralPeopleError, "one face per image"),
    ],
)
def test_faces_of_different_kinds_are_told_apart(given, kind, says):
    with pytest.raises(kind, match=says):
        combine_faces(people(*given), weights(*[1.0] * len(given)), "average")


def test_an_identity_of_zeros_is_refused():
    with pytest.raises(FaceGenError, match="identity of face 1 is all zero"):
        FaceEmbeds(torch.stack([torch.ones(512), torch.zeros(512)]))
    with pytest.raises(FaceGenError, match="identity of face 0 is all zero"):
        FaceEmbeds(torch.zeros(1, 512), faces=(NOBODY,))
    with pytest.raises(FaceGenError, match="hold nobody"):
        FaceEmbeds(torch.zeros(1, 512), faces=(NOBODY,), per_image=True)
    opposite = FaceEmbeds(torch.stack([torch.ones(512), -torch.ones(512)]))
    with pytest.raises(FaceGenError, match="cancel each other"):
        opposite.combined("average")


def test_a_row_for_nobody_is_zero_and_not_nan():
    faces = FaceEmbeds(torch.stack([torch.ones(512), torch.zeros(512)]), faces=({}, NOBODY), per_image=True)
    assert faces.normed_identity[1].tolist() == [0.0] * 512 and faces.is_nobody(1) and not faces.is_nobody(0)


def test_outliers():
    same, stranger, other = (person(seed, rows=3).normed_identity for seed in (1, 2, 3))
    assert outliers(same, 0.4) == {} and outliers(same[:1], 0.4) == {}
    found = outliers(torch.cat([same[:2], stranger[:1], same[2:]]), 0.4)
    assert list(found) == [2] and abs(found[2]) < 0.2
    assert set(outliers(torch.cat([same, stranger[:1], other[:1]]), 0.4)) == {3, 4}
    assert set(outliers(torch.cat([same[:1], stranger[:1]]), 0.4)) == {0, 1}  # which of the two can't be told


def equal(a, b):
    return all(
        (x is None and y is None) or torch.equal(x, y)
        for x, y in ((getattr(a, n), getattr(b, n)) for n in ("identity", "clip_hidden", "clip_hidden_zero"))
    )


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("combine", ["average", "concat", "one per image"])
def test_files_bring_back_what_was_saved(tmp_path, clip, combine):
    embeds = person(1, rows=2, clip=clip).combined(combine)
    path = tmp_path / "new" / "anna.safetensors"
    embeds.save(path)
    loaded = FaceEmbeds.load(path)
    assert equal(embeds, loaded) and loaded.faces == embeds.faces and loaded.per_image == embeds.per_image
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == {"identity", *(("clip_hidden", "clip_hidden_zero") if clip else ())}
        metadata = file.metadata()
        assert set(metadata) == {"format", "version", "faces"} and json.loads(metadata["faces"])[0]["model_pack"] == "p"
        assert (metadata["format"], metadata["version"]) == ("facegen.face_embeds", "1")
    assert os.listdir(path.parent) == ["anna.safetensors"]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_place_for_nobody_survives_a_file(tmp_path):
    faces = FaceEmbeds(torch.stack([torch.ones(512), torch.zeros(512)]), faces=({}, NOBODY), per_image=True)
    faces.save(tmp_path / "f.safetensors")
    assert FaceEmbeds.load(tmp_path / "f.safetensors").is_nobody(1)


GOOD = {"format": "facegen.face_embeds", "version": "1", "faces": "[]"}


@pytest.mark.parametrize(
    ("tensors", "metadata", "says"),
    [
        ({"identity": torch.ones(1, 512)}, {}, "no face embeddings of this pack"),
        ({"identity": torch.ones(1, 512)}, {**GOOD, "version": "9"}, "version '9'.*reads version 1"),
        ({"other": torch.ones(1, 512)}, GOOD, "lacks the identity"),
        ({"identity": torch.ones(1, 128)}, GOOD, r"\[1, 128\]"),
        ({"identity": torch.zeros(1, 512)}, GOOD, "all zero"),
        ({"identity": torch.full((1, 512), torch.nan)}, GOOD, "NaN"),
        ({"identity": torch.ones(1, 512, dtype=torch.int8)}, GOOD, "torch.int8"),
        ({"identity": torch.ones(1, 512), "clip_hidden": torch.ones(1, 257, 8)}, GOOD, "belong together"),
        ({"identity": torch.ones(1, 512), "clip_hidden": torch.ones(5), "clip_hidden_zero": torch.ones(5)}, GOOD, "wrong kind"),
        ({"identity": torch.ones(1, 512)}, {**GOOD, "faces": "{"}, "can't be read"),
        ({"identity": torch.ones(1, 512)}, {**GOOD, "faces": "[1]"}, "not a list of faces"),
        ({"identity": torch.ones(1, 512)}, {**GOOD, "faces": "[" * 100000}, "can't be read"),
        (
            {"identity": torch.ones(1, 512), "clip_hidden": torch.ones(1, 5, 8), "clip_hidden_zero": torch.ones(2, 5, 8)},
            GOOD,
            r"clip_hidden_zero \[2, 5, 8\] must be \[1, 5, 8\]",
        ),
        *(
            ({"identity": torch.ones(1, 512)}, {**GOOD, "faces": json.dumps([{name: value}])}, f"`{name}` of a face.*can't be")
            for name, values in {
                "recogniser": (5, None, ["w600k_r50"], {}),
                "model_pack": (True,),
                "confidence": ("high", float("inf"), True, float("nan"), 10**400),
                "bbox": ([1, 2, 3], "box", [1, 2, 3, None], 4),
                "size": ([640], [640, 0], [-1, 480], [640, None], "640x480"),
                "kps": ([[1, 2]], [[1, 2]] * 4 + [[1]], [1, 2, 3, 4, 5], {}),
            }.items()
            for value in values
        ),
    ],
)
def test_wrong_files_name_themselves(tmp_path, tensors, metadata, says):
    path = tmp_path / "wrong.safetensors"
    save_file(tensors, path, metadata)
    with pytest.raises(FaceGenError, match=says) as error:
        FaceEmbeds.load(path)
    assert str(path) in str(error.value)


def test_damaged_files_are_an_error_or_whole(tmp_path):
    path, dice = tmp_path / "f.safetensors", random.Random(1)
    person(1).save(path)
    data = path.read_bytes()
    refused = 0
    for seed in range(60):
        broken = bytearray(data[: dice.randrange(len(data))] if seed % 2 else data)
        for _ in range(seed % 5):
            broken[dice.randrange(min(len(broken), 700))] = dice.randrange(256)
        path.write_bytes(broken)
        try:
            FaceEmbeds.load(path)
        except FaceGenError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 30
    with pytest.raises(UnreadableFileError, match="There are no face embeddings"):
        FaceEmbeds.load(tmp_path / "gone.safetensors")


def test_a_file_that_can_not_be_written_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(FaceGenError, match="can't be written"):
        person(1).save(tmp_path / "file" / "f.safetensors")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(FaceGenError, match="disk full"):
        person(1).save(tmp_path / "f.safetensors")
    assert os.listdir(tmp_path) == ["file"]


def test_another_recogniser_is_refused_by_name():
    embeds = person(1, recogniser="glintr100")
    with pytest.raises(WrongRecogniserError, match=r"glintr100 \(model pack p\), but w600k_r50 is needed"):
        embeds.require_recogniser("w600k_r50")
    person(1).require_recogniser("w600k_r50")
