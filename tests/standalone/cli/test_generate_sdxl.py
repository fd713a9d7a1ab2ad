"""`generate` on SDXL with each method: from a models folder to PNGs, in words where something is lacking, stopped, and lean."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

from facegen.contract import FaceGenRequest
from facegen.models.style import find_style
from facegen.standalone.checkpoints import opening
from facegen.standalone.cli import generate as cli
from facegen.standalone.cli.main import main
from facegen.standalone.engine import Engine
from facegen.standalone.model_files import find_model_files
from facegen.standalone.photos import scaled
from peak_memory import peak_of
from small_checkpoints import CONTEXT, save_sdxl_models

CONTEXT_DIM = CONTEXT["SDXL"]
REQUEST = FaceGenRequest(
    prompt="a pilot", face_image="photo.jpg", width=64, height=72, num_inference_steps=21, seed=7, safety_checker=False
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """SDXL with all methods."""
    return save_sdxl_models(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module", params=["faceid", "instantid", pytest.param("pulid", marks=pytest.mark.timm)])
def engine(request, models):
    return Engine(find_model_files(models, method=request.param))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Three, however many are asked for."""
    scheduler = opening.DPMSolverMultistepScheduler
    set_timesteps = scheduler.set_timesteps
    monkeypatch.setattr(scheduler, "set_timesteps", lambda self, steps, **more: set_timesteps(self, min(3, steps), **more))


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


@pytest.mark.parametrize(
    ("arguments", "adapter", "guidance"),
    [
        ((), {"faceid": "faceid-plusv2_context192"}, 7.5),
        (("--method", "instantid"), {"instantid": "instantid"}, 5.0),
        (("--instantid", "ip-adapter.bin", "--guidance-scale", "1"), {"instantid": "instantid"}, 1.0),
        pytest.param(("--method", "pulid"), {"pulid": "pulid_v1.1"}, 7.5, marks=pytest.mark.timm),
    ],
    ids=str,
)
def test_photo_to_pictures(generate, tmp_path, arguments, adapter, guidance):
    code, told = generate(*arguments)
    assert code == 0, told
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["contact_sheet.png", "realistic_7_0.png"]
    picture = Image.open(tmp_path / "out" / "realistic_7_0.png")
    said = json.loads(picture.text["parameters"])
    assert picture.size == (64, 72) and said["guidance_scale"] == guidance
    assert {name: said[name] for name in ("faceid", "instantid", "pulid") if name in said} == adapter
    assert said["likeness_recogniser"] == ("w600k_r50" if "faceid" in adapter else "glintr100")


def test_a_pack_of_another_recogniser_is_refused_with_what_to_do(generate, tmp_path):
    code, told = generate("--method", "instantid", "--face-pack", "buffalo_l")
    assert code == 2 and "w600k_r50 (model pack buffalo_l), but glintr100 (model pack antelopev2) is needed" in told
    assert "Choose that pack with --face-pack" in told and not list(tmp_path.rglob("*.png"))


def test_what_instantid_lacks_comes_with_the_command_that_gets_it(generate, tmp_path):
    (tmp_path / "bare" / "checkpoints").mkdir(parents=True)
    code, told = generate("--models", tmp_path / "bare", "--method", "instantid")
    assert code == 2 and "bare lacks an SDXL checkpoint" in told and "antelopev2" in told
    assert f"models download sdxl-base instantid instantid-controlnet antelopev2 --models {tmp_path / 'bare'}" in told


@pytest.mark.parametrize("method", ["instantid", "pulid"])
def test_the_tiny_model_knows_faceid_alone(generate, method):
    code, told = generate("--models", "tiny", "--method", method)
    assert code == 2 and "The tiny model knows FaceID alone" in told


def test_without_timm_pulid_says_what_to_install(generate, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "timm.models", None)
    code, told = generate("--method", "pulid")
    assert code == 2 and "PuLID's vision tower needs the library timm, which can't be imported" in told
    assert told.rstrip().endswith("Install it into the Python that runs this: pip install timm")


def test_the_demo_has_no_row_of_s_scale_with_instantid(generate, tmp_path, monkeypatch):
    assert generate("--method", "instantid", "--demo", "--no-safety-checker")[0] == 0
    assert len(list((tmp_path / "out").glob("photo_*.png"))) == 5 and not list((tmp_path / "out").glob("*s_scale*"))


def test_it_is_sampled_at_twice_the_size_and_scaled(engine, astronaut, monkeypatch):
    face_embeds, _ = engine.embed(astronaut)
    seen, sample = [], engine.checkpoint.sample
    monkeypatch.setattr(engine.checkpoint, "sample", lambda *a, **k: seen.append(sample(*a, **k)) or seen[0])
    result = engine.generate(REQUEST, face_embeds)
    assert seen[0].shape == (1, 144, 128, 3) and result.images.shape == (1, 72, 64, 3)
    half = torch.nn.functional.interpolate(seen[0].movedim(-1, 1), size=(72, 64), mode="area").movedim(1, -1)
    assert (half - result.images).abs().mean() < 0.02


def test_face_and_settings_reach_the_picture(engine, astronaut):
    face_embeds, _ = engine.embed(astronaut)
    base = engine.generate(REQUEST, face_embeds).images
    assert torch.equal(engine.generate(REQUEST, face_embeds).images, base)
    changed = {
        "another face": engine.generate(REQUEST, replace(face_embeds, identity=-face_embeds.identity)).images,
        "another style": engine.generate(replace(REQUEST, style="comic"), face_embeds).images,
        "no guidance": engine.generate(replace(REQUEST, guidance_scale=1.0), face_embeds).images,
    }
    if engine.method == "pulid":
        seen = replace(face_embeds, structure_hidden=-face_embeds.structure_hidden)
        changed["another structure"] = engine.generate(REQUEST, seen).images
    if engine.method == "instantid":  # the points act through the ControlNet
        turned = tuple({**face, "kps": face["kps"][::-1]} for face in face_embeds.faces)
        changed["another pose"] = engine.generate(REQUEST, replace(face_embeds, faces=turned)).images
    for what, picture in changed.items():
        assert not torch.equal(picture, base), what


def test_of_nobody_it_is_what_the_model_makes_of_the_words_alone(models, engine, astronaut):
    """Whatever face was there before, and the face comes back as it was."""
    face_embeds, _ = engine.embed(astronaut)
    shown = engine.generate(REQUEST, face_embeds).images
    nobody = engine.generate(REQUEST, None).images
    fresh = Engine(find_model_files(models, method=engine.method))
    assert torch.equal(nobody, fresh.generate(REQUEST, None).images) and not torch.equal(nobody, shown)
    style = find_style(REQUEST.style)
    plain = fresh.checkpoint.sample(
        [style.positive(REQUEST.prompt)],
        [style.negative_prompt()],
        width=128,
        height=144,
        steps=21,
        guidance=REQUEST.guidance_scale,
        generator=torch.Generator().manual_seed(REQUEST.seed),
    )
    assert torch.equal(nobody, scaled(plain, 64, 72))
    assert torch.equal(engine.generate(REQUEST, face_embeds).images, shown)


def test_two_pictures_at_once_show_the_same_face(engine, astronaut):
    """The first is the one that comes alone: its noise is drawn first, and the face is on the rows of both."""
    face_embeds, _ = engine.embed(astronaut)
    alone, both = (engine.generate(replace(REQUEST, samples=number), face_embeds).images for number in (1, 2))
    assert both.shape == (2, 72, 64, 3) and (both[0] - alone[0]).abs().max() < 0.02
    assert (both[1] - alone[0]).abs().mean() > 0.02


def test_stopped_it_leaves_no_picture_and_can_go_on(engine, astronaut, generate, tmp_path, monkeypatch):
    face_embeds, _ = engine.embed(astronaut)
    expected = engine.generate(REQUEST, face_embeds).images
    step, calls = engine.checkpoint.scheduler.step, []

    def stop(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    monkeypatch.setattr(engine.checkpoint.scheduler, "step", stop)
    monkeypatch.setattr(cli, "load_engine", lambda *_: engine)
    code, told = generate("--method", engine.method)
    assert code == 130 and "stopped" in told and not list(tmp_path.rglob("*.png*"))
    monkeypatch.setattr(engine.checkpoint.scheduler, "step", step)
    assert torch.equal(engine.generate(REQUEST, face_embeds).images, expected)


def test_a_single_file_is_in_memory_once(models):
    """It holds float16; float32 is computed with, so that nothing of the file itself has to stay."""
    file = models / "checkpoints" / "small sdxl.safetensors"
    opened = []
    peak = peak_of(lambda: opened.append(opening.open_checkpoint(file)) or opened)
    assert peak < 3.3 * file.stat().st_size  # twice for float32, once for what is mapped
