"""From photos to embeddings: who is chosen, what is left out, what is reported. InsightFace is the reference."""

import logging

import numpy as np
import pytest
import torch

from facegen.errors import FaceGenError
from facegen.models.face.analysis import SELECT, Face, FaceAnalysis, to_bgr
from facegen.models.face.annotate import READABLE, annotate, as_batch
from facegen.models.face.embeds import NOBODY
from facegen.models.face.likeness import likenesses
from facegen.models.face.photo_to_embeds import embed_photos
from onnx_files import FACES, save_pack, save_recogniser

# Position in InsightFace's order (by confidence) of what each selection takes.
CHOSEN = {
    "largest": [2],
    "most central": [2],
    "leftmost": [0],
    "rightmost": [1],
    "topmost": [1],
    "by index": [1],
    "all": [0, 2, 1],
}


def encode(calls):
    """A CLIP vision that tells crops apart and counts how often it is called."""

    def states(crops):
        calls.append(len(crops))
        return crops.mean((1, 2, 3)).view(-1, 1, 1).expand(-1, 257, 4).clone(), torch.zeros(1, 257, 4)

    return states


@pytest.mark.parametrize("photo", ["astronaut", "t1", "tom_hanks"])
@pytest.mark.parametrize("select", SELECT)
def test_choice_crop_and_identity_are_insightface_numbers(face_analysis, insightface_app, photo, select, request):
    from insightface.utils import face_align

    picture = request.getfixturevalue(photo)
    bgr = (picture[0].numpy() * 255).round().astype(np.uint8)[..., ::-1].copy()
    theirs = insightface_app.get(bgr)
    done = embed_photos(face_analysis, picture, select=select, face_index=2, combine="concat")
    wanted = [theirs[i] for i in CHOSEN[select]]
    assert len(done.face_embeds) == len(wanted)
    for row, (face, crop) in enumerate(zip(wanted, done.crops, strict=True)):
        assert np.array_equal(done.face_embeds.identity[row].numpy(), face.embedding)
        assert done.face_embeds.faces[row]["bbox"] == face.bbox.tolist()
        expected = face_align.norm_crop(bgr, face.kps, image_size=224)[..., ::-1]
        assert np.array_equal((crop.numpy() * 255).round().astype(np.uint8), expected)


def test_clip_vision_sees_the_whole_batch_at_once(face_analysis, astronaut):
    calls = []
    batch = torch.cat([astronaut, astronaut.flip(2), astronaut.flip(1)])
    done = embed_photos(face_analysis, batch, encode(calls), combine="concat", select="all")
    assert calls == [9] and done.face_embeds.clip_hidden.shape == (9, 257, 4)


def test_a_skipped_photo_does_not_shift_the_others(face_analysis, astronaut):
    """One per image: each photo's face keeps the photo's place, with and without CLIP vision."""
    black = torch.zeros_like(astronaut)
    batch = torch.cat([astronaut, black, astronaut.flip(2), black])
    alone = [embed_photos(face_analysis, batch[i : i + 1], encode([])).face_embeds for i in (0, 2)]
    done = embed_photos(face_analysis, batch, encode([]), combine="one per image", skip=True)
    assert len(done.face_embeds) == 4 and done.face_embeds.per_image and len(done.crops) == 2
    for row, single in ((0, alone[0]), (2, alone[1])):
        assert torch.equal(done.face_embeds.identity[row], single.identity[0])
        assert torch.equal(done.face_embeds.clip_hidden[row], single.clip_hidden[0])
    for row in (1, 3):
        assert done.face_embeds.is_nobody(row) and done.face_embeds.faces[row] == NOBODY
        assert not done.face_embeds.identity[row].any()
        assert torch.equal(done.face_embeds.clip_hidden[row], done.face_embeds.clip_hidden_zero[0])
    assert [len(p["faces"]) for p in done.report["pictures"]] == [3, 0, 3, 0]
    plain = embed_photos(face_analysis, batch, combine="one per image", skip=True)
    assert plain.face_embeds.clip_hidden is None and plain.face_embeds.is_nobody(1)


def test_nobody_draws_as_the_unconditional_side(face_analysis, astronaut, tmp_path):
    """The tokens of a latent without a face are those that FaceID was trained to read as no face."""
    from facegen.models.identity.faceid.adapter import FaceIDAdapter
    from faceid_files import faceid_state, save

    adapter = FaceIDAdapter(save(faceid_state([320] * 4, 768, 4), tmp_path / "faceid.bin"))
    batch = torch.cat([torch.zeros_like(astronaut), astronaut])
    done = embed_photos(face_analysis, batch, encode([]), combine="one per image", skip=True)
    cond, uncond = adapter.tokens(done.face_embeds)
    assert torch.allclose(cond[0], uncond[0], atol=1e-5) and (cond[1] - uncond[1]).abs().max() > 0.1


def test_skipping_is_said_and_all_skipped_is_an_error(face_analysis, astronaut, caplog):
    black = torch.zeros_like(astronaut)
    with caplog.at_level(logging.WARNING):
        done = embed_photos(face_analysis, torch.cat([black, astronaut]), skip=True)
    assert len(done.face_embeds) == 1 and "picture 0 skipped. No face found in the 512x512" in caplog.text
    assert len(done.report["pictures"][0]["tries"]) == 7 and done.report["pictures"][0]["found_by"] is None
    with pytest.raises(FaceGenError, match="No face in any of the 2 pictures"):
        embed_photos(face_analysis, torch.cat([black, black]), skip=True)
    with pytest.raises(FaceGenError, match="No face found in the 512x512"):
        embed_photos(face_analysis, torch.cat([astronaut, black]))


def test_somebody_else_among_the_references_is_reported(face_analysis, astronaut, monkeypatch, caplog):
    people = torch.nn.functional.normalize(torch.randn(2, 512, generator=torch.Generator().manual_seed(1)), dim=-1)
    order = iter([0, 0, 1, 0])
    monkeypatch.setattr(face_analysis, "embed", lambda *_: people[next(order)][None] * 20)
    batch = astronaut.repeat(4, 1, 1, 1)
    with caplog.at_level(logging.WARNING):
        done = embed_photos(face_analysis, batch)
    assert [entry["picture"] for entry in done.report["outliers"]] == [2]
    assert "picture 2 seems to show somebody else" in caplog.text
    order = iter([0, 0, 1, 0])
    assert embed_photos(face_analysis, batch, combine="one per image").report["outliers"] == []


def test_the_report_judges_the_photo(face_analysis, astronaut, tom_hanks):
    report = embed_photos(face_analysis, tom_hanks).report
    chosen = [face for face in report["pictures"][0]["faces"] if face["chosen"]]
    assert [face["index"] for face in chosen] == [1] and not report["pictures"][0]["faces"][0].get("quality")
    assert any("The face is small" in problem for problem in chosen[0]["quality"]["problems"])
    assert any(w.startswith("picture 0, face 1: size") for w in report["warnings"])


def test_sixteen_photos_cost_as_much_inference_as_sixteen_singles(face_analysis, astronaut, count_inference):
    batch = torch.cat([astronaut * (1 - n / 100) for n in range(16)])
    calls = count_inference(face_analysis)
    embed_photos(face_analysis, batch)
    assert calls.count("detect") == calls.count("embed") == 16
    embed_photos(face_analysis, batch[3:4], select="leftmost")
    assert calls.count("detect") == 16 and calls.count("embed") == 17
    embed_photos(face_analysis, batch[3:4])
    assert len(calls) == 33


def test_likeness_to_oneself_and_to_others(face_analysis, astronaut, t1):
    face_embeds = embed_photos(face_analysis, astronaut).face_embeds
    batch = torch.cat([torch.zeros_like(astronaut), astronaut, astronaut.flip(1)])
    scores = likenesses(batch, face_analysis, face_embeds)
    assert scores[0].cosine is scores[0].percent is None and scores[0].why == "no face"
    assert scores[1].cosine == pytest.approx(1, abs=1e-5) and scores[2].cosine < scores[1].cosine
    others = face_analysis.embed(to_bgr(astronaut[0].flip(0)), face_analysis.detect(to_bgr(astronaut[0].flip(0))))
    best = (torch.nn.functional.normalize(others, dim=-1) @ face_embeds.normed_identity[0]).max().item()
    assert scores[2].cosine == pytest.approx(best, abs=1e-6)  # of several faces the most alike


def test_likeness_with_one_face_per_image_compares_in_order(face_analysis, astronaut):
    batch = torch.cat([astronaut, torch.zeros_like(astronaut), astronaut.flip(2)])
    people = embed_photos(face_analysis, batch, combine="one per image", skip=True).face_embeds
    scores = likenesses(torch.cat([astronaut, astronaut, astronaut.flip(2), astronaut]), face_analysis, people)
    assert [s.cosine is None for s in scores] == [False, True, False, False]
    assert [round(s.cosine, 4) for s in scores if s.cosine] == [1, 1, 1]


def test_likeness_by_another_recogniser_is_refused(face_analysis, astronaut, tmp_path):
    save_pack(tmp_path / "aura", FACES)
    (tmp_path / "aura" / "w600k_r50.onnx").unlink()
    save_recogniser(tmp_path / "aura" / "glintr100.onnx")
    face_embeds = embed_photos(FaceAnalysis(tmp_path / "aura", "CPU"), astronaut).face_embeds
    with pytest.raises(FaceGenError, match=r"glintr100 \(model pack aura\), but w600k_r50 \(model pack buffalo_l\) is needed"):
        likenesses(astronaut, face_analysis, face_embeds)


@pytest.mark.parametrize("size", [(64, 64), (40, 200), (112, 112), (512, 512), (3000, 2000), (8000, 500)])
def test_the_marked_photo_can_be_read_at_any_size(size):
    """Enlarged to READABLE pixels at least; letters at least 16 pixels high, and as high as a 40th of the picture."""
    height, width = size
    side = min(size)
    box = np.float32([0.3 * side, 0.3 * side, 0.6 * side, 0.6 * side])
    kps = np.float32([[0.4, 0.4], [0.5, 0.4], [0.45, 0.45], [0.4, 0.5], [0.5, 0.5]]) * side
    face = Face(box, kps, 0.87)
    marked = annotate(np.full((height, width, 3), 60, np.uint8), [face], [face])
    factor = marked.shape[0] // height
    assert marked.shape == (height * factor, width * factor, 3) and max(marked.shape) >= min(READABLE, max(size) * factor)
    ground = (marked == (0, 220, 90)).all(-1)
    rows = np.flatnonzero(ground.mean(1) > 0) if ground.any() else []
    assert len(rows) and (marked[ground.any(1)] == 0).all(-1).any()  # black letters beside the green
    black = np.flatnonzero((marked == 0).all(-1).any(1))
    assert black.max() - black.min() >= max(9, max(marked.shape) // 70)
    batch = as_batch([marked, marked])
    assert batch.shape == (2, *marked.shape) and torch.equal(batch[1], torch.from_numpy(marked).float() / 255)


def test_marks_at_the_edge_of_the_number_range_are_drawn():
    far = Face(np.float32([-1e30, -1e30, 1e30, 1e30]), np.full((5, 2), 1e20, np.float32), 0.5)
    assert annotate(np.zeros((600, 600, 3), np.uint8), [far] * 30, []).any()
