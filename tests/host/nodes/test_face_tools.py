"""Combining, keeping, judging and choosing faces inside ComfyUI."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from facegen.errors import FaceGenError, NoFaceError, WrongRecogniserError
from facegen.models.face import embeds


@pytest.fixture
def faces_folder(base_directory):
    folder = base_directory / "user" / "facegen" / "faces"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def embed(run, face_analysis, image, **options):
    return run("FaceGenEmbedFace", face_analysis=face_analysis, image=image, **options)[0]


def test_quality_says_what_is_wrong(run, face_analysis, astronaut, pack_nodes):
    score, good, annotated, report = run("FaceGenFaceQuality", face_analysis=face_analysis, image=astronaut)
    (entry,) = json.loads(report)
    assert score == entry["score"] and good is (not entry["problems"]) and annotated.shape == astronaut.shape
    assert set(entry["checks"]) == {"size", "sharpness", "turn", "inside", "shoulders", "exposure"}
    dark, is_good, *_ = run("FaceGenFaceQuality", face_analysis=face_analysis, image=torch.cat([astronaut, astronaut * 0.1]))
    assert dark < score and is_good is False
    nobody, is_good, _, report = run("FaceGenFaceQuality", face_analysis=face_analysis, image=torch.zeros_like(astronaut))
    assert nobody == 0 and is_good is False and "No face found" in json.loads(report)[0]["problems"][0]
    shown = pack_nodes["FaceGenFaceQuality"].EXECUTE_NORMALIZED(
        face_analysis=face_analysis, image=astronaut, select="largest", face_index=0
    )
    assert "sharpness: " in shown.ui["text"][0]


def test_clip_vision_runs_once_per_batch_and_not_again(run, face_analysis, clip_vision, astronaut, monkeypatch):
    seen = []
    encode, model = clip_vision.encode_image, clip_vision.model
    monkeypatch.setattr(clip_vision, "encode_image", lambda image: seen.append(len(image)) or encode(image))
    calls = []
    monkeypatch.setattr(clip_vision, "model", lambda **kw: calls.append(len(kw["pixel_values"])) or model(**kw))
    unseen = 0.95 * astronaut  # other tests have shown the vision model the astronaut
    batch = torch.cat([unseen, unseen.flip(2), unseen.flip(1)])
    first = embed(run, face_analysis, batch, clip_vision=clip_vision, combine="concat", select="all")
    assert seen == [6] and calls[0] == 6 and len(calls) <= 2  # the second is the zero picture, once per model
    again = embed(run, face_analysis, batch, clip_vision=clip_vision, combine="concat")
    assert seen == [6] and torch.equal(again.clip_hidden_zero, first.clip_hidden_zero)
    rows = [row for row in range(6) for i in range(3) if torch.equal(first.clip_hidden[row], again.clip_hidden[i])]
    assert len(rows) == 3
    embed(run, face_analysis, torch.cat([unseen, 0.9 * astronaut]), clip_vision=clip_vision)
    assert seen == [6, 1]


def test_combining(run, face_analysis, astronaut):
    one, other = embed(run, face_analysis, astronaut), embed(run, face_analysis, astronaut.flip(2), select="leftmost")
    both = run("FaceGenCombineFaces", face_embeds_1=one, face_embeds_3=other, weight_1=3.0)[0]
    direction = 0.75 * one.normed_identity + 0.25 * other.normed_identity
    assert torch.allclose(both.normed_identity, direction / direction.norm(), atol=1e-5)
    assert len(run("FaceGenCombineFaces", method="concat", face_embeds_2=one, face_embeds_4=other)[0]) == 2
    with pytest.raises(NoFaceError, match=r"^Combine Faces: There are no faces.*Connect Embed Face to face_embeds_1\.$"):
        run("FaceGenCombineFaces")


def test_faces_are_saved_and_loaded(run, face_analysis, astronaut, clip_vision, faces_folder, pack_nodes):
    faces = embed(run, face_analysis, astronaut, clip_vision=clip_vision)
    assert not faces_folder.exists()  # nothing is written before the save node runs
    for _ in range(2):
        run("FaceGenSaveFaceEmbeds", face_embeds=faces, filename_prefix="anna/portrait")
    names = sorted(path.relative_to(faces_folder).as_posix() for path in faces_folder.rglob("*.safetensors"))
    assert names == ["anna/portrait_00001_.safetensors", "anna/portrait_00002_.safetensors"]
    schema = pack_nodes["FaceGenLoadFaceEmbeds"].define_schema()
    assert schema.inputs[0].options == names
    loaded = run("FaceGenLoadFaceEmbeds", face_file=names[0])[0]
    assert torch.equal(loaded.identity, faces.identity) and torch.equal(loaded.clip_hidden, faces.clip_hidden)
    mark = pack_nodes["FaceGenLoadFaceEmbeds"].fingerprint_inputs
    before = mark(names[0], recogniser="any")
    loaded.combined("concat").save(faces_folder / names[0])
    assert mark(names[0], recogniser="any") != before


@pytest.mark.parametrize(
    "prefix", ["../escape", "/tmp/escape", "..", "", "a/../../escape", "\\..\\escape", "a\0escape", "a\ud800"]
)
def test_saving_stays_in_its_folder(run, face_analysis, astronaut, prefix, faces_folder, base_directory):
    faces = embed(run, face_analysis, astronaut)
    try:
        run("FaceGenSaveFaceEmbeds", face_embeds=faces, filename_prefix=prefix)
    except FaceGenError as error:
        assert "is not a file name inside" in str(error)
    outside = [p for p in base_directory.rglob("*escape*.safetensors") if faces_folder not in p.parents]
    assert outside == []


def test_a_name_that_no_folder_takes(run, face_analysis, astronaut, faces_folder):
    faces = embed(run, face_analysis, astronaut)
    run("FaceGenSaveFaceEmbeds", face_embeds=faces, filename_prefix="taken")
    for prefix in ("a" * 300, "a/" + "b" * 300 + "/c", "taken_00001_.safetensors/x"):
        with pytest.raises(FaceGenError, match="^Save Face Embeds: .*(No file can be made for|can't be written)"):
            run("FaceGenSaveFaceEmbeds", face_embeds=faces, filename_prefix=prefix)
    with pytest.raises(FaceGenError, match="^Load Face Embeds: .*is no file name"):
        run("FaceGenLoadFaceEmbeds", face_file="a\0.safetensors")
    with pytest.raises(FaceGenError, match=r"^Face Style: The style field must be one of realistic, .*got 'gothic'\."):
        run("FaceGenStyle", style="gothic", prompt="", negative_prompt="")


def test_loading_refuses_what_the_adapter_does_not_expect(
    run, face_analysis, astronaut, faces_folder, base_directory, monkeypatch
):
    faces = embed(run, face_analysis, astronaut)
    other = replace(faces, faces=({**faces.faces[0], "recogniser": "glintr100", "model_pack": "antelopev2"},))
    other.save(faces_folder / "other.safetensors")
    replace(faces, faces=()).save(faces_folder / "unknown.safetensors")
    with pytest.raises(FaceGenError, match=r"glintr100 \(model pack antelopev2\), but w600k_r50 is needed.*that holds it"):
        run("FaceGenLoadFaceEmbeds", face_file="other.safetensors")
    with pytest.raises(FaceGenError, match="doesn't say which recogniser"):
        run("FaceGenLoadFaceEmbeds", face_file="unknown.safetensors")
    for name in ("other", "unknown"):
        assert len(run("FaceGenLoadFaceEmbeds", face_file=f"{name}.safetensors", recogniser="any")[0]) == 1
    with pytest.raises(FaceGenError, match="no face embeddings at.*keep it with Save Face Embeds"):
        run("FaceGenLoadFaceEmbeds", face_file="gone.safetensors")
    with monkeypatch.context() as later:
        later.setattr(embeds, "VERSION", "2")
        faces.save(faces_folder / "newer.safetensors")
    with pytest.raises(FaceGenError, match=r"version '2'; this release reads version 1\. Update this pack, or"):
        run("FaceGenLoadFaceEmbeds", face_file="newer.safetensors")
    faces.save(base_directory / "user" / "secret.safetensors")
    with pytest.raises(FaceGenError, match="lies outside"):
        run("FaceGenLoadFaceEmbeds", face_file="../../secret.safetensors")


def test_likeness_sorts_best_first_and_keeps_n(run, face_analysis, astronaut):
    face_embeds = embed(run, face_analysis, astronaut)
    batch = torch.cat([torch.zeros_like(astronaut), astronaut.flip(1), astronaut])
    best, score, report = run("FaceGenLikeness", image=batch, face_analysis=face_analysis, face_embeds=face_embeds, keep=2)
    assert torch.equal(best, batch[[2, 1]]) and score == pytest.approx(1, abs=1e-5)
    entries = json.loads(report)
    assert [entry["picture"] for entry in entries] == [2, 1, 0] and entries[2]["cosine"] is None
    assert entries[0]["percent"] == pytest.approx(99.4, abs=0.1)
    _, nothing, _ = run("FaceGenLikeness", image=batch[:1], face_analysis=face_analysis, face_embeds=face_embeds)
    assert nothing == -1
    stranger = replace(face_embeds, faces=({**face_embeds.faces[0], "recogniser": "glintr100"},))
    with pytest.raises(WrongRecogniserError, match=r"^Likeness: .*w600k_r50 \(model pack buffalo_l\) is needed.*Load Face An"):
        run("FaceGenLikeness", image=batch, face_analysis=face_analysis, face_embeds=stranger)


SMALL = {"width": 64, "height": 64, "num_inference_steps": 1, "seed": 2**64 - 1, "sampler_name": "euler", "scheduler": "normal"}


@pytest.mark.newest
def test_best_of_n_keeps_the_most_alike(run, parts, face_analysis, pack_nodes):
    """Four candidates in rounds of two, with the next seed (0 after the last): the two most alike come out, best first."""
    rounds = [run("FaceGenSampler", **parts, **{**SMALL, "seed": seed}, samples=2) for seed in (2**64 - 1, 0)]
    every, latents = torch.cat([r[0] for r in rounds]), torch.cat([r[1]["samples"] for r in rounds])
    _, _, report = run("FaceGenLikeness", image=every, face_analysis=face_analysis, face_embeds=parts["face_embeds"])
    order = [entry["picture"] for entry in json.loads(report)]
    node = pack_nodes["FaceGenSampler"]
    defaults = {i.id: i.default for i in node.GET_SCHEMA().inputs if getattr(i, "default", None) is not None}
    given = {**defaults, **parts, **SMALL, "samples": 2, "candidates": 3, "face_analysis": face_analysis}
    done = node.EXECUTE_NORMALIZED(**given)
    assert torch.equal(done.result[0], every[order[:2]]) and torch.equal(done.result[1]["samples"], latents[order[:2]])
    text = done.ui["text"][0]
    assert text.startswith("best 2 of 4") and f"picture {order[0]}: " in text and "%" in text


@pytest.mark.newest
def test_best_of_n_with_one_face_per_image_keeps_the_places(run, parts, face_analysis, clip_vision, astronaut):
    people = embed(
        run, face_analysis, torch.cat([astronaut, astronaut.flip(2)]), clip_vision=clip_vision, combine="one per image"
    )
    parts = {**parts, "face_embeds": people}
    rounds = [run("FaceGenSampler", **parts, **{**SMALL, "seed": seed}, samples=2)[0] for seed in (5, 6)]
    image = run("FaceGenSampler", **parts, **{**SMALL, "seed": 5}, samples=2, candidates=4, face_analysis=face_analysis)[0]
    for place in range(2):
        assert any(torch.equal(image[place], generated[place]) for generated in rounds)


@pytest.mark.newest
def test_candidates_need_a_judge_and_one_needs_none(run, parts, face_analysis):
    with pytest.raises(FaceGenError, match="^Face Portrait Sampler: .*connect Load Face Analyzer to face_analysis"):
        run("FaceGenSampler", **parts, **SMALL, candidates=2)
    plain = run("FaceGenSampler", **parts, **SMALL)[0]
    assert torch.equal(plain, run("FaceGenSampler", **parts, **SMALL, face_analysis=face_analysis)[0])


def test_graphs_from_before_there_were_candidates_still_run(server):
    import workflows

    graph = workflows.load("api/portrait_sd15.json")
    (sampler,) = [node for node in graph.values() if node["class_type"] == "FaceGenSampler"]
    sampler["inputs"].pop("candidates")
    info = server.get("/object_info/FaceGenSampler")["FaceGenSampler"]["input"]
    assert set(info["required"]) <= set(sampler["inputs"])
