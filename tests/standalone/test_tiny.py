"""The tiny model's files are whole and real: the libraries that read the published ones read these, and faces are found."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from facegen.errors import TinyFilesError
from facegen.models import tiny_files
from facegen.models.style import load_style, style_files
from facegen.models.tiny_files import TINY
from facegen.tools.tiny_model.drawings.drawing import draw as draw_portrait
from facegen.tools.tiny_model.drawings.person import BACKGROUNDS, HAIR_COLOURS, STYLES, Person, View, words
from facegen.tools.tiny_model.stages.finder import face_box

UNLISTED = {"SHA256SUMS", "README.md"}
ASTRONAUT = (175, 60, 275, 190)  # where the face is


def all_files() -> dict[str, Path]:
    return {path.relative_to(TINY).as_posix(): path for path in TINY.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pipe():
    """Tests change nothing on it."""
    return load_pipeline()


def load_pipeline():
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(TINY / tiny_files.CHECKPOINT, local_files_only=True).to(torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def face_analysis():
    pytest.importorskip("insightface")
    import insightface.app

    pack, modules = str(TINY / tiny_files.FACE_PACK), ["detection", "recognition"]
    app = insightface.app.FaceAnalysis(pack, allowed_modules=modules, providers=["CPUExecutionProvider"])
    app.prepare(-1)
    return app


def bgr(image: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray((image[0].numpy() * 255).round().astype(np.uint8)[..., ::-1])


def overlap(a, b) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def grouped(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    groups: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in load_file(path).items():
        group, _, rest = name.partition(".")
        groups[group][rest] = tensor
    return groups


def generate(pipe, **arguments) -> np.ndarray:
    return pipe(
        "a portrait 🙂",
        width=128,
        height=128,
        num_inference_steps=4,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
        **arguments,
    ).images[0]


# --- the files ------------------------------------------------------------------------------------------------------


def test_nothing_is_large():
    assert sum(path.stat().st_size for path in all_files().values()) <= 24e6


def test_checksums_name_every_file_and_match_it():
    lines = [line.split("  ") for line in (TINY / "SHA256SUMS").read_text(encoding="utf-8").splitlines()]
    listed = {name: digest for digest, name in lines}
    files = {name: path for name, path in all_files().items() if name not in UNLISTED}
    assert len(lines) == len(listed) and listed.keys() == files.keys() == set(tiny_files.FILES)
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == listed


@pytest.mark.parametrize("name", [name for name in tiny_files.FILES if name.endswith(".safetensors")])
def test_weights_are_finite_and_in_half_precision(name):
    tensors = load_file(TINY / name)
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float16"}
    assert [name for name, tensor in tensors.items() if not tensor.isfinite().all()] == []


def test_texts_hold_no_path_of_the_machine_that_made_them():
    texts = [path for path in all_files().values() if path.suffix == ".json" and path.name != "vocab.json"]
    values = [value for path in texts for value in json.loads(path.read_text(encoding="utf-8")).values()]
    assert len(texts) == 8 and [v for v in values if isinstance(v, str) and re.match(r"[/\\~]|\w:[/\\]", v)] == []


@pytest.mark.parametrize("name", tiny_files.FILES)
def test_a_missing_file_is_named(tmp_path, monkeypatch, name):
    folder = tmp_path / "tiny"
    for file in (folder / one for one in tiny_files.FILES):  # whether they are there is all that is looked at
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(tiny_files, "TINY", folder)
    assert tiny_files.require_tiny_files() == folder
    (folder / name).unlink()
    with pytest.raises(TinyFilesError) as caught:
        tiny_files.require_tiny_files()
    assert str(caught.value) == f"The tiny model's folder {folder} lacks {name}."


def test_text_encoder_has_the_published_names():
    with safe_open(TINY / tiny_files.TEXT_ENCODER, "pt") as file:
        assert all(name.startswith("text_model.") for name in list(file.keys()))


def test_clip_vision_has_the_published_names():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig.from_json_file(TINY / tiny_files.CLIP_VISION_CONFIG)
    model = CLIPVisionModelWithProjection(config).eval()
    model.load_state_dict(load_file(TINY / tiny_files.CLIP_VISION), strict=True)
    with torch.no_grad():
        states = model(torch.zeros(1, 3, 224, 224), output_hidden_states=True).hidden_states[-2]
    assert states.shape == (1, 257, config.hidden_size) and states.isfinite().all()


def test_adapter_has_the_published_numbering():
    adapter = grouped(TINY / tiny_files.FACEID)["ip_adapter"]
    cross = {int(name.split(".")[0]) for name in adapter if name.endswith("to_k_ip.weight")}
    assert cross == set(range(1, 32, 2))
    assert {int(name.split(".")[0]) for name in adapter} == set(range(32))
    for number in range(32):
        parts = {f"{number}.to_{p}_lora.{d}.weight" for p in ("q", "k", "v", "out") for d in ("down", "up")}
        assert parts <= adapter.keys()


# --- real faces -----------------------------------------------------------------------------------------------------


def test_the_astronaut_is_found_with_points_inside_the_box(face_analysis, astronaut):
    (face,) = face_analysis.get(bgr(astronaut))
    assert overlap(face.bbox, ASTRONAUT) > 0.4
    x0, y0, x1, y1 = face.bbox
    assert ((face.kps > (x0, y0)) & (face.kps < (x1, y1))).all()
    assert face.kps[0, 0] < face.kps[1, 0] and face.kps[0, 1] < face.kps[3, 1]


@pytest.mark.parametrize("sizes", [(128, 128), (640, 640), (320, 640)], ids=str)
def test_the_face_is_found_at_every_detector_size(astronaut, sizes):
    pytest.importorskip("insightface")
    from insightface.model_zoo import get_model

    detector = get_model(str(TINY / tiny_files.DETECTOR), providers=["CPUExecutionProvider"])
    detector.prepare(-1, input_size=sizes, det_thresh=0.5)
    boxes, points = detector.detect(bgr(astronaut))
    assert len(boxes) == 1 and points.shape == (1, 5, 2)
    assert overlap(boxes[0], ASTRONAUT) > 0.4


def test_a_face_that_fills_a_black_and_white_photo_is_found(face_analysis, tom_hanks):
    (face,) = face_analysis.get(bgr(tom_hanks))
    assert overlap(face.bbox, (17, 5, 95, 108)) > 0.4


@pytest.mark.parametrize("colour", [(128, 128, 128), (0, 0, 0), (255, 0, 0), (255, 255, 255)], ids=str)
def test_a_plain_picture_has_no_face(face_analysis, colour):
    assert face_analysis.get(np.full((300, 400, 3), colour, np.uint8)) == []


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_face(face_analysis, channels, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (400, 300, channels), dtype=np.uint8)
    assert face_analysis.get(np.repeat(noise, 3 // channels, axis=2)) == []


def test_embeddings_are_as_long_as_arcface_s_and_follow_the_picture(face_analysis, astronaut, tom_hanks):
    (first,), (again,) = face_analysis.get(bgr(astronaut)), face_analysis.get(bgr(astronaut))
    (dimmed,), (other,) = face_analysis.get(bgr(astronaut * 0.85)), face_analysis.get(bgr(tom_hanks))
    assert first.embedding.shape == (512,) and first.embedding.dtype == np.float32
    assert np.array_equal(first.embedding, again.embedding)
    assert [np.linalg.norm(face.embedding) for face in (first, dimmed, other)] == pytest.approx([20] * 3, abs=0.01)
    assert first.normed_embedding @ dimmed.normed_embedding > 0.8
    assert first.normed_embedding @ other.normed_embedding < 0.6


def test_recogniser_takes_a_batch(face_analysis):
    crops = list(np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8))
    recogniser = face_analysis.models["recognition"]
    together = recogniser.get_feat(crops)
    assert together.shape == (3, 512) and np.allclose(
        together, np.concatenate([recogniser.get_feat(c) for c in crops]), atol=1e-3
    )
    assert np.isfinite(recogniser.get_feat(np.zeros((112, 112, 3), np.uint8))).all()


# --- drawn faces ----------------------------------------------------------------------------------------------------


def somebody(number: int) -> Person:
    return Person.random(np.random.default_rng([number, 9]))


@pytest.mark.parametrize("style", STYLES)
def test_a_drawn_face_is_found_once_where_it_is(face_analysis, style):
    off = []
    for number in range(4):
        picture, points = draw_portrait(somebody(number), View.random(np.random.default_rng([number, 10])), style)
        (face,) = face_analysis.get(np.ascontiguousarray(picture[..., ::-1]))
        assert overlap(face.bbox, face_box(points)) > 0.5
        off.append(np.linalg.norm(face.kps - points, axis=-1).mean())
    assert np.mean(off) < 10  # pixels of 256


def test_drawn_people_are_told_apart(face_analysis):
    """Who is in another pose, light and style, among as many as there are pictures."""

    def faces(seed: int, style: str) -> np.ndarray:
        drawn = [draw_portrait(somebody(n), View.random(np.random.default_rng([n, seed])), style)[0] for n in range(8)]
        found = [face_analysis.get(np.ascontiguousarray(picture[..., ::-1])) for picture in drawn]
        return np.stack([face.normed_embedding for (face,) in found])

    nearest = (faces(1, "realistic") @ faces(2, "anime").T).argmax(axis=1)
    assert (nearest == np.arange(8)).sum() >= 6


# --- the pictures ---------------------------------------------------------------------------------------------------


def test_diffusers_loads_the_checkpoint_and_generates_a_picture(pipe):
    assert pipe.safety_checker is None
    assert sum(name.endswith("attn2.processor") for name in pipe.unet.attn_processors) == 16
    picture = generate(pipe)
    assert picture.shape == (128, 128, 3)
    assert np.isfinite(picture).all()
    assert picture.std(axis=(0, 1)).min() > 0.02  # every colour varies over the picture


@pytest.mark.parametrize("text", ["", "a man", "café 10% photo's", "🙂👩‍🚀 中文 العربية", "\x00\n\t", "word " * 200])
def test_any_text_can_be_tokenised(pipe, text):
    tokens = pipe.tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
    start, end = pipe.tokenizer.bos_token_id, pipe.tokenizer.eos_token_id
    assert len(tokens) == 77 and tokens[0] == start and end in tokens
    assert max(tokens) < pipe.text_encoder.config.vocab_size


def test_each_word_of_a_caption_is_one_token(pipe):
    rng = np.random.default_rng(5)
    texts = [phrase for _ in range(100) for phrase in words(Person.random(rng), View.random(rng)).values()]
    for style in (load_style(style_files()[name]) for name in STYLES):
        texts += [style.positive(""), style.negative_prompt()]
    said = set(re.findall("[a-z]+", " ".join(texts).lower()))
    assert {*HAIR_COLOURS, *BACKGROUNDS, "woman", "glasses", "anime"} <= said
    assert [word for word in sorted(said) if len(pipe.tokenizer(word).input_ids) != 3] == []  # it, between start and end


def test_identity_changes_the_picture_through_diffusers_own_adapter():
    pytest.importorskip("peft")  # for the adapter's LoRA
    pipe = load_pipeline()
    adapter = grouped(TINY / tiny_files.FACEID)
    pipe.load_ip_adapter(adapter, subfolder=None, weight_name=None, image_encoder_folder=None)
    projection = pipe.unet.encoder_hid_proj.image_projection_layers[0]
    clip_width = adapter["image_proj"]["perceiver_resampler.proj_in.weight"].shape[1]
    projection.clip_embeds = torch.zeros(2, 1, 257, clip_width)
    projection.shortcut = True
    faces = torch.nn.functional.normalize(torch.randn(2, 1, 512, generator=torch.Generator().manual_seed(0)), dim=-1)

    pictures = [generate(pipe, ip_adapter_image_embeds=[torch.stack([face * 0, face])]) for face in faces]
    assert all(np.isfinite(p).all() for p in pictures)
    assert np.abs(pictures[0] - pictures[1]).mean() > 0.02
