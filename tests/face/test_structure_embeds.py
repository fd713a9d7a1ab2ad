"""The structure of faces in face embeds: from photos, saved and loaded, averaged and combined."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from facegen.errors import FaceGenError, MissingStructureError
from facegen.models.face.combine import combine_faces
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.face.photo_to_embeds import embed_photos
from facegen.models.face.structure.look import Structure
from faceid_files import random_faces
from peak_memory import peak_of
from pulid_files import seen_faces

NAMES = ("structure_pooled", "structure_hidden")


def look(crop):
    """A vision tower that tells crops apart."""
    mean = crop.mean()
    return Structure(mean * torch.arange(1.0, 5), mean.expand(5, 3, 2).clone(), crop)


def test_files_bring_back_the_structure(tmp_path):
    faces = seen_faces(2, seed=4)
    faces.save(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert set(file.keys()) == {"identity", *NAMES} and file.metadata()["version"] == "1"
    again = FaceEmbeds.load(tmp_path / "a.safetensors")
    assert all(torch.equal(getattr(again, name), getattr(faces, name)) for name in NAMES)


def test_a_file_without_structure_still_reads(tmp_path):
    random_faces(2).save(tmp_path / "a.safetensors")
    again = FaceEmbeds.load(tmp_path / "a.safetensors")
    assert again.structure_pooled is None and again.structure_hidden is None and again.clip_hidden is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"structure_pooled": None}, "belong together"),
        ({"structure_hidden": None}, "belong together"),
        ({"structure_pooled": torch.ones(1, 40)}, "2 identities but 1 and 2 structures"),
        ({"structure_hidden": torch.full((2, 5, 3, 4), torch.nan)}, r"NaN or infinite values \(structure_hidden\)"),
    ],
)
def test_what_does_not_agree_is_named(change, says):
    with pytest.raises(FaceGenError, match=says):
        replace(seen_faces(2), **change)


@pytest.mark.parametrize("how", ["average", "concat", "one per image"])
def test_combined(how):
    faces = seen_faces(3)
    done = faces.combined(how)
    for name in NAMES:
        given, all_of_them = getattr(done, name), getattr(faces, name)
        expected = all_of_them.mean(dim=0, keepdim=True) if how == "average" else all_of_them
        assert torch.allclose(given, expected, atol=1e-6)


def test_several_inputs_make_one_person():
    faces = {"a": seen_faces(2, seed=1), "b": seen_faces(1, seed=2)}
    means = {name: each.combined("average") for name, each in faces.items()}
    for name in NAMES:
        a, b = (getattr(each, name)[0] for each in means.values())
        weighed = combine_faces(faces, {"a": 3.0, "b": 1.0}, "average")
        assert torch.allclose(getattr(weighed, name)[0], 0.75 * a + 0.25 * b, atol=1e-6)
        assert torch.equal(getattr(combine_faces(faces, {"a": 1.0, "b": 1.0}, "concat"), name), torch.stack([a, b]))
        assert torch.equal(getattr(combine_faces(faces, {"a": 1.0, "b": 0.5}, "subtract"), name)[0], a)


def test_with_and_without_structure_dont_go_together():
    faces = {"seen": seen_faces(), "not": random_faces(clip=None), "other": seen_faces(states=24)}
    for pair, says in ((("seen", "not"), r"seen: \[5, 17, 48\], not: none"), (("seen", "other"), r"other: \[5, 17, 24\]")):
        with pytest.raises(MissingStructureError, match=f"The structures differ.*{says}"):
            combine_faces({name: faces[name] for name in pair}, dict.fromkeys(pair, 1.0), "average")


@pytest.mark.parametrize("combine", ["average", "concat", "one per image"])
def test_photos_to_structure(face_analysis, astronaut, combine):
    batch = torch.cat([astronaut, astronaut.flip(2), astronaut * 0.5])
    done = embed_photos(face_analysis, batch, look=look, combine=combine)
    each = [embed_photos(face_analysis, photo[None], look=look) for photo in batch]
    assert done.structure_crops.shape == (3, 512, 512, 3)
    for number, alone in enumerate(each):
        assert torch.equal(done.structure_crops[number], alone.structure_crops[0])
    for name in NAMES:
        expected = torch.cat([getattr(alone.face_embeds, name) for alone in each])
        expected = expected.mean(dim=0, keepdim=True) if combine == "average" else expected
        assert torch.allclose(getattr(done.face_embeds, name), expected, atol=1e-6)
    assert embed_photos(face_analysis, astronaut).structure_crops is None


def test_a_skipped_photo_has_a_place_without_structure(face_analysis, astronaut):
    batch = torch.cat([torch.zeros_like(astronaut), astronaut])
    done = embed_photos(face_analysis, batch, look=look, combine="one per image", skip=True).face_embeds
    assert done.is_nobody(0) and len(done) == 2
    for name in NAMES:
        assert not getattr(done, name)[0].any() and getattr(done, name)[1].all()


def test_averaging_many_photos_holds_the_states_of_one(face_analysis, astronaut):
    """12 MB of states for each photo; 24 of them would be 280 MB."""

    def heavy(crop):
        return Structure(torch.ones(8), crop.mean().expand(5, 577, 1024).clone(), crop[:8, :8])

    batch = astronaut.expand(24, -1, -1, -1)
    embed_photos(face_analysis, batch[:1], look=heavy)
    plain = peak_of(lambda: embed_photos(face_analysis, batch))
    assert peak_of(lambda: embed_photos(face_analysis, batch, look=heavy)) < plain + (100 << 20)
