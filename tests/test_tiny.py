"""The tiny models are real files: the libraries that read the published ones read these, and a picture comes out."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from facegen.standalone.tiny import build_tiny

ADAPTER = "ipadapter/ip-adapter-faceid-plusv2_tiny.safetensors"


def digests(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny(folder)
    return folder


@pytest.fixture
def pipe(tiny):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny / "checkpoints/tiny", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def analyser(tiny):
    pytest.importorskip("insightface")
    from insightface.app import FaceAnalysis

    folder = str(tiny / "insightface/models/tiny")
    app = FaceAnalysis(folder, allowed_modules=["detection", "recognition"], providers=["CPUExecutionProvider"])
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


def draw(pipe, **arguments) -> np.ndarray:
    return pipe(
        "a portrait 🙂",
        width=64,
        height=64,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
        **arguments,
    ).images[0]


# --- the files ------------------------------------------------------------------------------------------------------


def test_one_seed_one_set_of_bytes(tiny, tmp_path):
    first = digests(tiny)
    build_tiny(tmp_path / "again")
    assert digests(tmp_path / "again") == first


def test_another_seed_makes_other_weights(tiny, tmp_path):
    build_tiny(tmp_path, seed=1)
    ours, others = digests(tiny), digests(tmp_path)
    assert ours.keys() == others.keys()
    weights = [n for n in ours if n.endswith(".safetensors")] + ["insightface/models/tiny/w_tiny.onnx"]
    assert len(weights) == 6
    assert not [name for name in weights if ours[name] == others[name]]


def test_building_leaves_the_callers_random_numbers_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_tiny(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_is_large(tiny):
    assert sum(f.stat().st_size for f in tiny.rglob("*") if f.is_file()) < 40e6


# --- the face -------------------------------------------------------------------------------------------------------


def test_the_astronaut_is_found_with_points_inside_the_box(analyser, astronaut):
    (face,) = analyser.get(bgr(astronaut))
    assert overlap(face.bbox, (175, 60, 275, 190)) > 0.4
    assert face.det_score > 0.8
    x0, y0, x1, y1 = face.bbox
    assert ((face.kps > (x0, y0)) & (face.kps < (x1, y1))).all()
    assert face.kps[0, 0] < face.kps[1, 0] and face.kps[0, 1] < face.kps[3, 1]


@pytest.mark.parametrize("sizes", [(128, 128), (640, 640), (320, 640)], ids=str)
def test_the_face_is_found_at_every_detector_size(tiny, astronaut, sizes):
    pytest.importorskip("insightface")
    from insightface.model_zoo import get_model

    detector = get_model(str(tiny / "insightface/models/tiny/det_tiny.onnx"), providers=["CPUExecutionProvider"])
    detector.prepare(-1, input_size=sizes, det_thresh=0.5)
    boxes, points = detector.detect(bgr(astronaut))
    assert len(boxes) == 1 and points.shape == (1, 5, 2)
    assert overlap(boxes[0], (175, 60, 275, 190)) > 0.4


def test_a_face_that_fills_a_black_and_white_photo_is_found(analyser, tom_hanks):
    (face,) = analyser.get(bgr(tom_hanks))
    assert overlap(face.bbox, (17, 5, 95, 108)) > 0.5


@pytest.mark.parametrize("colour", [(128, 128, 128), (0, 0, 0), (255, 0, 0), (255, 255, 255)], ids=str)
def test_a_plain_picture_has_no_face(analyser, colour):
    assert analyser.get(np.full((300, 400, 3), colour, np.uint8)) == []


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_face(analyser, channels, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (400, 300, channels), dtype=np.uint8)
    assert analyser.get(np.repeat(noise, 3 // channels, axis=2)) == []


def test_embeddings_are_as_long_as_arcface_and_follow_the_picture(analyser, astronaut, tom_hanks):
    (first,), (again,) = analyser.get(bgr(astronaut)), analyser.get(bgr(astronaut))
    (dimmed,) = analyser.get(bgr(astronaut * 0.85))
    (other,) = analyser.get(bgr(tom_hanks))
    assert first.embedding.shape == (512,) and first.embedding.dtype == np.float32
    assert np.array_equal(first.embedding, again.embedding)
    assert 15 < np.linalg.norm(first.embedding) < 25
    assert first.normed_embedding @ dimmed.normed_embedding > 0.9
    assert first.normed_embedding @ other.normed_embedding < 0.6


def test_recogniser_takes_a_batch(analyser):
    crops = list(np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8))
    recogniser = analyser.models["recognition"]
    assert recogniser.get_feat(crops).shape == (3, 512)
    assert np.isfinite(recogniser.get_feat(np.zeros((112, 112, 3), np.uint8))).all()


# --- the pictures ---------------------------------------------------------------------------------------------------


def test_diffusers_loads_the_checkpoint_and_draws(pipe):
    assert pipe.safety_checker is None
    assert sum(name.endswith("attn2.processor") for name in pipe.unet.attn_processors) == 16
    picture = draw(pipe)
    assert picture.shape == (64, 64, 3)
    assert np.isfinite(picture).all()
    assert picture.std(axis=(0, 1)).min() > 0.02  # every colour varies over the picture


@pytest.mark.parametrize("text", ["", "a man", "café 10% photo's", "🙂👩‍🚀 中文 العربية", "\x00\n\t", "word " * 200])
def test_any_text_can_be_tokenised(pipe, text):
    tokens = pipe.tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
    start, end = pipe.tokenizer.bos_token_id, pipe.tokenizer.eos_token_id
    assert len(tokens) == 77 and tokens[0] == start and end in tokens
    assert max(tokens) < pipe.text_encoder.config.vocab_size


def test_text_encoder_has_the_published_names(tiny):
    with safe_open(tiny / "checkpoints/tiny/text_encoder/model.safetensors", "pt") as file:
        assert all(name.startswith("text_model.") for name in list(file.keys()))


def test_clip_vision_has_the_published_names(tiny):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tensors = load_file(tiny / "clip_vision/tiny.safetensors")
    width, _, patch, _ = tensors["vision_model.embeddings.patch_embedding.weight"].shape
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        projection_dim=tensors["visual_projection.weight"].shape[0],
        num_hidden_layers=len({n.split(".")[3] for n in tensors if ".layers." in n}),
        num_attention_heads=width // 64,
        image_size=224,
        patch_size=patch,
    )
    model = CLIPVisionModelWithProjection(config)
    model.load_state_dict(tensors, strict=True)
    with torch.no_grad():
        states = model(torch.zeros(1, 3, 224, 224), output_hidden_states=True).hidden_states[-2]
    assert states.shape == (1, 257, width) and states.isfinite().all()


def test_adapter_has_the_published_numbering(tiny):
    adapter = grouped(tiny / ADAPTER)["ip_adapter"]
    cross = {int(name.split(".")[0]) for name in adapter if name.endswith("to_k_ip.weight")}
    assert cross == set(range(1, 32, 2))
    for number in range(32):
        parts = {f"{number}.to_{p}_lora.{d}.weight" for p in ("q", "k", "v", "out") for d in ("down", "up")}
        assert parts <= adapter.keys()


def test_identity_changes_the_picture_through_diffusers_own_adapter(pipe, tiny):
    pytest.importorskip("peft")  # for the adapter's LoRA
    adapter = grouped(tiny / ADAPTER)
    pipe.load_ip_adapter(adapter, subfolder=None, weight_name=None, image_encoder_folder=None)
    projection = pipe.unet.encoder_hid_proj.image_projection_layers[0]
    clip_width = adapter["image_proj"]["perceiver_resampler.proj_in.weight"].shape[1]
    projection.clip_embeds = torch.zeros(2, 1, 257, clip_width)
    projection.shortcut = True
    faces = torch.nn.functional.normalize(torch.randn(2, 1, 512, generator=torch.Generator().manual_seed(0)), dim=-1)

    pictures = [draw(pipe, ip_adapter_image_embeds=[torch.stack([face * 0, face])]) for face in faces]
    assert all(np.isfinite(p).all() for p in pictures)
    assert np.abs(pictures[0] - pictures[1]).mean() > 0.02
