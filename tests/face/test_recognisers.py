"""A likeness names the recogniser that gave it, and the tiny one's is what it is: measured on drawings, and of nothing else."""

import pytest
import torch

from facegen.models import tiny_files
from facegen.models.face.analysis import FaceAnalysis, to_bgr
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.face.likeness import in_words, likenesses, percentage
from facegen.models.face.photo_to_embeds import embed_photos
from facegen.models.face.recognisers import SURE, TINY, recogniser
from facegen.tools.tiny_model.drawings.person import STYLES
from tiny_people import photos

PEOPLE = range(300, 308)


@pytest.fixture(scope="module")
def tiny():
    return FaceAnalysis(tiny_files.TINY / tiny_files.FACE_PACK, "CPU")


@pytest.fixture(scope="module")
def drawn(tiny):
    """Somebody drawn, embedded."""
    return embed_photos(tiny, photos(300)).face_embeds


def test_a_likeness_names_its_recogniser(face_analysis, astronaut, tiny, drawn):
    (score,) = likenesses(astronaut, face_analysis, embed_photos(face_analysis, astronaut).face_embeds)
    assert in_words([score]) == "picture 0: 99 % by w600k_r50 (cosine 1.00)" and score.as_dict()["recogniser"] == "w600k_r50"
    (score,) = likenesses(photos(300), tiny, drawn)
    assert in_words([score]).endswith(" % by the tiny recogniser (cosine 1.00)") and score.as_dict()["recogniser"] == "w_tiny"


def test_its_scale_is_that_of_drawings(tiny):
    """Of people whom it never saw: nearly all pairs of one person lie above 80 %, nearly all of two people below 20 %."""
    faces = [[embed_photos(tiny, photos(n, style=style)).face_embeds for style in STYLES[:3]] for n in PEOPLE]
    gallery = torch.cat([face.normed_identity for row in faces for face in row])
    cosines = gallery @ gallery.T
    owner = torch.arange(len(PEOPLE)).repeat_interleave(3)
    pairs = torch.ones_like(cosines).triu(1) > 0
    same, other = ([float(c) for c in cosines[pairs & (kind == (owner[:, None] == owner))]] for kind in (True, False))
    for above, at_least in ((same, 0.95), (other, -0.05)):
        share = sum(cosine >= TINY.same_person for cosine in above) / len(above)
        assert share >= at_least if at_least > 0 else share <= -at_least
    alike, unlike = ([percentage(cosine, TINY.same_person) for cosine in each] for each in (same, other))
    assert sum(shown > 80 for shown in alike) >= 0.95 * len(alike) and sum(shown < 20 for shown in unlike) >= 0.9 * len(unlike)
    assert percentage(TINY.same_person, TINY.same_person) == pytest.approx(60)


def test_there_is_none_for_a_photo(tiny, drawn, astronaut):
    """Neither of a photo as the person, nor of one as the picture, although the tiny detector finds the face."""
    assert tiny.detect(to_bgr(astronaut[0]))
    photo = embed_photos(tiny, astronaut).face_embeds
    for image, person, why in ((photos(300), photo, "the person's photo is none"), (astronaut, drawn, "no face that it knows")):
        (score,) = likenesses(image, tiny, person)
        assert score.cosine is None and score.percent is None and why in score.why
        assert in_words([score]).startswith("picture 0: likeness not measured: ") and why in score.as_dict()["why"]
    both = FaceEmbeds(torch.cat([drawn.identity, photo.identity]), faces=(*drawn.faces, *photo.faces))
    assert likenesses(photos(300), tiny, both)[0].cosine is None
    each = both.combined("one per image")
    own, other = likenesses(torch.cat([photos(300), photos(300)]), tiny, each)
    assert own.cosine == pytest.approx(1, abs=1e-4) and other.cosine is None


def test_an_object_that_is_no_face_has_none(tiny, drawn):
    """Things, textures and an animal, in which the tiny detector sees a face all the same."""
    from skimage import data

    seen = 0
    for name in ("coffee", "chelsea", "coins", "horse", "logo", "immunohistochemistry"):
        picture = torch.from_numpy(getattr(data, name)().copy()).float()
        picture = (picture / picture.max())[..., None].expand(-1, -1, 3) if picture.ndim == 2 else picture[..., :3] / 255
        seen += bool(tiny.detect(to_bgr(picture)))
        assert likenesses(picture[None], tiny, drawn)[0].cosine is None, name
    assert seen >= 4


def test_drawn_faces_are_judged(tiny):
    for n in PEOPLE:
        for style in STYLES:
            (face,) = tiny.detect(to_bgr(photos(n, style=style)[0]))
            assert TINY.judges(face.bbox, face.kps, face.confidence), (n, style)
    assert not TINY.judges(face.bbox, face.kps, SURE - 0.01)
    assert recogniser("w600k_r50").judges(face.bbox, face.kps, 0.1) and recogniser("glintr100").words == "glintr100"


def test_photos_are_not_said_to_be_of_somebody_else(tiny, astronaut):
    """By the cosine of a recogniser that can't judge them; two drawn people are."""
    report = embed_photos(tiny, torch.cat([astronaut, astronaut.flip(1)]), skip=True).report
    assert report["outliers"] == []
    report = embed_photos(tiny, torch.cat([photos(300), photos(301)])).report
    assert len(report["outliers"]) == 2 and "0.5 or more is one person" in report["warnings"][-1]
