"""The sampler node against the same steps by stock nodes."""

import json
import shutil

import pytest
import torch

from facegen.errors import FaceGenError
from pictures import SAFE, UNSAFE, StubChecker

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2, "seed": 3, "sampler_name": "euler", "scheduler": "normal"}


def test_equals_the_stock_nodes(run, parts):
    import nodes

    style, positive_text, negative_text = run("FaceGenStyle", style="anime", prompt="a pilot", negative_prompt="hat")
    image, latent = run("FaceGenSampler", **parts, style=style, s_scale=1.2, faceid_weight=0.9, samples=2, **SMALL)

    patched = run(
        "FaceGenApplyFaceID",
        model=parts["model"],
        faceid=parts["faceid"],
        face_embeds=parts["face_embeds"],
        s_scale=1.2,
        weight=0.9 * style.weight,
        layer_weights=style.layer_weights,
    )[0]
    encode = nodes.CLIPTextEncode().encode
    empty = nodes.EmptyLatentImage().generate(64, 64, 2)[0]
    generated = nodes.KSampler().sample(
        patched,
        3,
        2,
        7.5,
        "euler",
        "normal",
        encode(parts["clip"], positive_text)[0],
        encode(parts["clip"], negative_text)[0],
        empty,
        1.0,
    )[0]
    assert torch.equal(latent["samples"], generated["samples"])
    assert torch.equal(image, nodes.VAEDecode().decode(parts["vae"], generated)[0])
    assert image.shape == (2, 64, 64, 3)


@pytest.mark.newest
def test_prompt_of_the_sampler_wins_over_the_style_node(run, parts):
    style = run("FaceGenStyle", style="comic", prompt="a pilot")[0]
    same = run("FaceGenSampler", **parts, style=style, prompt="a pilot", **SMALL)[0]
    assert torch.equal(run("FaceGenSampler", **parts, style=style, **SMALL)[0], same)
    assert not torch.equal(run("FaceGenSampler", **parts, style=style, prompt="a cook", **SMALL)[0], same)


def test_starts_from_a_latent(run, parts):
    latent = {"samples": torch.zeros(1, 4, 12, 8)}
    image, out = run("FaceGenSampler", **parts, latent=latent, samples=3, denoise=0.5, **SMALL)
    assert image.shape == (3, 96, 64, 3) and out["samples"].shape == (3, 4, 12, 8)
    assert torch.equal(latent["samples"], torch.zeros(1, 4, 12, 8))


@pytest.fixture
def own_styles(base_directory):
    """The user's folder for styles; gone after the test."""
    folder = base_directory / "user" / "facegen" / "styles"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


def test_styles_differ_and_users_can_add_their_own(run, own_styles):
    texts = {s: run("FaceGenStyle", style=s, prompt="a {curly} man")[1] for s in ("realistic", "anime", "3d", "chibi", "comic")}
    assert len(set(texts.values())) == 5 and all("a {curly} man" in t for t in texts.values())
    (own_styles / "oil.json").write_text(json.dumps({"prompt": "oil painting of {prompt}", "faceid": {"weight": 0.5}}))
    style, text, _ = run("FaceGenStyle", style="oil", prompt="a man")
    assert text == "oil painting of a man" and style.weight == 0.5
    (own_styles / "broken.json").write_text('{"prompt": "no place for words"}')
    with pytest.raises(FaceGenError, match=r"broken\.json"):
        run("FaceGenStyle", style="broken", prompt="a man")


@pytest.mark.newest
def test_unsafe_pictures_never_leave_it(run, parts):
    plain, generated = run("FaceGenSampler", **parts, samples=3, **SMALL)
    checker = StubChecker(SAFE, UNSAFE, SAFE, SAFE)
    image, latent = run("FaceGenSampler", **parts, samples=3, **SMALL, safety_checker=checker, safety_checker_type="pixelate")
    assert torch.equal(checker.asked[0], plain) and image.shape == plain.shape and image.dtype == plain.dtype
    assert torch.equal(image[[0, 2]], plain[[0, 2]])
    assert len(image[1].reshape(-1, 3).unique(dim=0)) == 16
    # The latent shows the same picture to whoever decodes it.
    assert torch.equal(latent["samples"][[0, 2]], generated["samples"][[0, 2]])
    assert not latent["samples"][1].any() and generated["samples"][1].any()


@pytest.mark.newest
def test_safe_pictures_leave_it_bit_for_bit(run, parts):
    plain, generated = run("FaceGenSampler", **parts, **SMALL)
    image, latent = run("FaceGenSampler", **parts, **SMALL, safety_checker=StubChecker(SAFE))
    assert torch.equal(image, plain) and torch.equal(latent["samples"], generated["samples"])


@pytest.mark.newest
def test_without_a_verdict_nothing_leaves_it(run, parts):
    with pytest.raises(RuntimeError, match="no verdict"):
        run("FaceGenSampler", **parts, **SMALL, safety_checker=StubChecker(error=RuntimeError("no verdict")))


def test_previews_are_blank_while_a_checker_is_connected(run, parts, monkeypatch):
    import latent_preview

    seen = []

    class Previewer:
        def decode_latent_to_preview_image(self, preview_format, x0):
            seen.append(x0.abs().max().item())

    monkeypatch.setattr(latent_preview, "get_previewer", lambda *_: Previewer())
    run("FaceGenSampler", **parts, **SMALL)
    assert len(seen) == 2 and min(seen) > 0
    seen.clear()
    run("FaceGenSampler", **parts, **SMALL, safety_checker=StubChecker(SAFE))
    assert seen == [0, 0]
