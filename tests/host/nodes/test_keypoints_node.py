"""Face Keypoints inside ComfyUI."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from facegen.errors import FaceGenError, NoFaceError
from facegen.models.face.analysis import to_bgr
from facegen.models.face.embeds import FaceEmbeds
from keypoint_drawing import hint_image


@pytest.fixture
def embeds(run, face_analysis, astronaut):
    return run("FaceGenEmbedFace", face_analysis=face_analysis, image=astronaut)[0]


def as_bytes(image):
    return (image * 255).round().byte().numpy()


def test_a_photo_and_its_embeds_give_the_published_hint_image(run, face_analysis, astronaut, embeds):
    (face, *_) = face_analysis.detect(to_bgr(astronaut[0]))
    (drawn,) = run("FaceGenFaceKeypoints", width=512, height=512, image=astronaut, face_analysis=face_analysis)
    assert drawn.shape == (1, 512, 512, 3)
    assert np.array_equal(as_bytes(drawn[0]), hint_image(face.kps, 512, 512))
    assert torch.equal(run("FaceGenFaceKeypoints", width=512, height=512, face_embeds=embeds)[0], drawn)
    wide = run("FaceGenFaceKeypoints", width=2048, height=1024, face_embeds=embeds)[0]
    assert np.array_equal(as_bytes(wide[0]), hint_image(face.kps * 2 + np.float32([512, 0]), 2048, 1024))


def test_a_face_fitted_into_a_frame(run, embeds):
    (drawn,) = run(
        "FaceGenFaceKeypoints",
        width=600,
        height=800,
        face_embeds=embeds,
        placement="fitted",
        center_x=0.7,
        center_y=0.3,
        scale=0.2,
    )
    y, x = torch.nonzero(drawn[0].any(dim=-1), as_tuple=True)
    assert abs((x.min() + x.max()) / 2 - 0.7 * 600) < 30 and abs((y.min() + y.max()) / 2 - 0.3 * 800) < 40
    assert 60 < y.max() - y.min() < 0.2 * 800


def test_batches_and_every_face_of_a_photo(run, face_analysis, astronaut):
    batch = torch.cat([astronaut, astronaut.flip(2)])
    drawn = run("FaceGenFaceKeypoints", width=256, height=256, image=batch, face_analysis=face_analysis)[0]
    every = run("FaceGenFaceKeypoints", width=256, height=256, image=batch, face_analysis=face_analysis, select="all")[0]
    assert drawn.shape == every.shape == (2, 256, 256, 3)
    assert (every.sum(dim=(1, 2, 3)) > 1.5 * drawn.sum(dim=(1, 2, 3))).all()
    with_gap = torch.cat([astronaut, torch.zeros_like(astronaut)])
    each = run("FaceGenEmbedFace", face_analysis=face_analysis, image=with_gap, combine="one per image", on_no_face="skip")[0]
    drawn = run("FaceGenFaceKeypoints", width=256, height=256, face_embeds=each)[0]
    assert len(drawn) == 2 and drawn[0].any() and not drawn[1].any()


def test_embeds_of_an_older_file_are_fitted_and_it_is_said(run, pack_nodes, embeds, caplog):
    older = replace(embeds, faces=tuple({k: v for k, v in face.items() if k != "size"} for face in embeds.faces))
    node = pack_nodes["FaceGenFaceKeypoints"]
    inputs = {"width": 512, "height": 512, "placement": "as in the photo", "center_x": 0.1, "center_y": 0.1, "scale": 1.0}
    shown = node.EXECUTE_NORMALIZED(**inputs, face_embeds=older)
    assert "don't say how large the photo was" in caplog.text and shown.ui["text"][0] in caplog.text
    assert torch.equal(
        shown.result[0], run("FaceGenFaceKeypoints", width=512, height=512, face_embeds=embeds, placement="fitted")[0]
    )


def test_bad_input_has_advice(run, face_analysis, astronaut, embeds):
    size = {"width": 256, "height": 256}
    with pytest.raises(FaceGenError, match=r"^Face Keypoints: Connect either image .* or face_embeds"):
        run("FaceGenFaceKeypoints", **size)
    with pytest.raises(FaceGenError, match="and not both"):
        run("FaceGenFaceKeypoints", **size, image=astronaut, face_analysis=face_analysis, face_embeds=embeds)
    with pytest.raises(FaceGenError, match="connect Load Face Analyzer to face_analysis"):
        run("FaceGenFaceKeypoints", **size, image=astronaut)
    with pytest.raises(NoFaceError, match=r"^Face Keypoints: No face found.*Use another photo"):
        run("FaceGenFaceKeypoints", **size, image=torch.zeros_like(astronaut), face_analysis=face_analysis)
    with pytest.raises(FaceGenError, match="where eyes, nose and mouth are.*Embed the photo again with Embed Face"):
        run("FaceGenFaceKeypoints", **size, face_embeds=FaceEmbeds(torch.ones(1, 512)))
