"""`generate` on FLUX.1 with PuLID: from a models folder to PNGs, and in words where something doesn't fit."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from facegen.contract import FaceGenRequest
from facegen.standalone.cli import generate as cli
from facegen.standalone.cli.main import main
from facegen.standalone.engine import Engine
from facegen.standalone.model_files import find_model_files
from facegen.standalone.sampling.flux import Flux
from flux_folder import LAYERS, WIDTH, save_flux_models
from pulid_files import flux_state, save

REQUEST = FaceGenRequest(
    prompt="a pilot", face_image="photo.jpg", width=64, height=72, num_inference_steps=21, seed=7, safety_checker=False
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_flux_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def engine(models):
    return Engine(find_model_files(models))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Three, however many are asked for."""
    set_steps = Flux._set_steps
    monkeypatch.setattr(Flux, "_set_steps", lambda self, steps, patches: set_steps(self, min(3, steps), patches))


@pytest.fixture
def generate(tmp_path, monkeypatch, capsys, models):
    """Runs the command in a folder of its own; gives its exit code and all that it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        given = ["--models", models, "--face", cli.demo_photo(), "--width", 64, "--height", 72, "--num-inference-steps", 21]
        code = main(["generate", *map(str, given), "--prompt", "a pilot", "--seed", "7", *map(str, arguments)])
        written = capsys.readouterr()
        return code, written.out + written.err

    return run


@pytest.mark.timm
@pytest.mark.parametrize(("arguments", "guidance"), [((), 4.0), (("--method", "pulid", "--guidance-scale", "2"), 2.0)])
def test_photo_to_pictures(generate, tmp_path, arguments, guidance):
    code, told = generate(*arguments)
    assert code == 0, told
    picture = Image.open(tmp_path / "out" / "realistic_7_0.png")
    said = json.loads(picture.text["parameters"])
    assert picture.size == (64, 72) and said["guidance_scale"] == guidance
    assert (said["pulid"], said["likeness_recogniser"]) == ("pulid_flux", "glintr100")


@pytest.mark.timm
def test_face_and_settings_reach_the_picture(engine, astronaut):
    face_embeds, _ = engine.embed(astronaut)
    base = engine.generate(REQUEST, face_embeds).images
    assert base.shape == (1, 72, 64, 3) and torch.equal(engine.generate(REQUEST, face_embeds).images, base)
    changed = {
        "another face": engine.generate(REQUEST, replace(face_embeds, identity=-face_embeds.identity)).images,
        "another structure": engine.generate(
            REQUEST, replace(face_embeds, structure_hidden=-face_embeds.structure_hidden)
        ).images,
        "another style": engine.generate(replace(REQUEST, style="comic"), face_embeds).images,
        "more guidance": engine.generate(replace(REQUEST, guidance_scale=9.0), face_embeds).images,
    }
    for what, picture in changed.items():
        assert not torch.equal(picture, base), what
    both = engine.generate(replace(REQUEST, samples=2), face_embeds).images
    assert (both[0] - base[0]).abs().max() < 0.02 and (both[1] - base[0]).abs().mean() > 0.005


@pytest.mark.timm
def test_of_nobody_it_is_what_the_model_makes_of_the_words_alone(models, engine, astronaut):
    face_embeds, _ = engine.embed(astronaut)
    shown = engine.generate(REQUEST, face_embeds).images
    nobody = engine.generate(REQUEST, None).images
    fresh = Engine(find_model_files(models))
    assert torch.equal(nobody, fresh.generate(REQUEST, None).images) and not torch.equal(nobody, shown)
    assert torch.equal(engine.generate(REQUEST, face_embeds).images, shown)


def test_other_methods_are_refused_with_what_to_do(generate, tmp_path):
    code, told = generate("--method", "instantid")
    assert code == 2 and "InstantID's ControlNet (controlnet/instantid-controlnet.safetensors)" in told
    assert not list(tmp_path.rglob("*.png"))


def test_a_flux_in_one_file_is_refused(generate, models):
    file = models / "checkpoints" / "flux1-dev.safetensors"
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, file)
    code, told = generate("--checkpoint", file.name)
    file.unlink()
    assert code == 2 and "flux1-dev.safetensors is FLUX in one file. A checkpoint of SD1.5 or SDXL is needed, or FLUX.1" in told
    assert "as a folder in diffusers' layout. Choose another one with --checkpoint." in told


@pytest.mark.timm
def test_a_pulid_file_for_another_flux_is_told_before_the_pictures(generate, models, tmp_path):
    other = save(flux_state(LAYERS + 1, WIDTH), models / "pulid" / "other.safetensors")
    code, told = generate("--pulid", other.name)
    other.unlink()
    assert code == 2 and "made for FLUX.1 (5 layers beside blocks of width 64), but the model is FLUX with 3 double" in told
    assert "with --pulid" in told and not list(tmp_path.rglob("*.png"))
