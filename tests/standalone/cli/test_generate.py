"""The command line, from photo to PNG, on the tiny model."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from facegen.contract import SAFETY_CHECKER_TYPES, FaceGenRequest
from facegen.errors import FaceGenError
from facegen.models.safety.checking import Detection, SafetyResult
from facegen.models.safety.filter import filter_images
from facegen.models.tiny_files import TINY
from facegen.standalone import photos
from facegen.standalone.cli import comfyui
from facegen.standalone.cli import generate as cli
from facegen.standalone.cli.main import main
from facegen.standalone.model_files import MissingFiles, find_model_files
from pack import ROOT
from pictures import HEIC, DetailChecker


@pytest.fixture(scope="module")
def tiny():
    return TINY


@pytest.fixture
def engine(tiny_engine, monkeypatch):
    """It takes seven steps, however many are asked for."""
    scheduler = tiny_engine.checkpoint.scheduler
    set_timesteps = scheduler.set_timesteps
    monkeypatch.setattr(scheduler, "set_timesteps", lambda steps, **options: set_timesteps(min(7, steps), **options))
    return tiny_engine


@pytest.fixture
def request_():
    return FaceGenRequest(
        prompt="a pilot",
        face_image="photo.jpg",
        style="anime",
        s_scale=1.2,
        width=64,
        height=64,
        num_inference_steps=21,
        seed=7,
    )


def shell(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, str(ROOT), *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=600
    )


@pytest.fixture
def generate(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own; gives its exit code and all that it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = main(["generate", *map(str, arguments)])
        except SystemExit as stop:  # argparse's own
            code = stop.code
        written = capsys.readouterr()
        return code, written.out + written.err

    return run


def test_photo_to_pictures(tmp_path):
    """README's command, in a folder of its own, and small."""
    Image.open(cli.demo_photo()).save(tmp_path / "photo.jpg", quality=95)
    (documented,) = re.findall(r"^\.venv/bin/python \. (generate .*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    done = shell(*shlex.split(documented), "--width", 64, "--height", 64, "--num-inference-steps", 21, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cli.TINY_NOTICE in done.stderr and "21/21" in done.stderr
    told = done.stderr.replace("\r", "\n")
    generating = f"generating 2 pictures of 64x64 pixels in 21 steps, into {tmp_path / 'out'}\n"
    steps = ["loading the models", generating, "21/21", "wrote out/anime_7_0.png", "wrote out/contact_sheet.png"]
    assert sorted(steps, key=told.index) == steps
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["anime_7_0.png", "anime_7_1.png", "contact_sheet.png"]
    first, second = (Image.open(tmp_path / "out" / name) for name in files[:2])
    parameters = json.loads(first.text["parameters"])
    assert parameters["prompt"] == "a woman in a red coat" and parameters["s_scale"] == 1.2 and parameters["seed"] == 7
    assert parameters["face_image"] == "photo.jpg" and parameters["flagged"] is False
    assert first.size == second.size == (64, 64)
    assert np.asarray(first).std() > 5 and not np.array_equal(first, second)


def test_a_wrong_photo_is_told_before_the_engine_s_libraries_are_loaded(tmp_path):
    command = [sys.executable, "-X", "importtime", str(ROOT), "generate", "--face", "nowhere.jpg", "--prompt", "x"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600).stderr
    assert "There is no photo nowhere.jpg" in told
    imported = set(re.findall(r"\| +([\w.]+)$", told, re.MULTILINE))
    assert "torch" in imported and not imported & {"diffusers", "transformers", "insightface", "onnxruntime"}


RUN_AS_MAIN = """
import os, runpy, sys
sys.argv[1:] = ["models", "list"]
try:
    runpy.run_path({root!r}, run_name="__main__")
finally:
    print("waits:", os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
"""


@pytest.mark.parametrize("own", [None, "active"], ids=["unset", "the user's"])
def test_threads_wait_without_spinning_unless_the_user_says_otherwise(own):
    """Settled before torch, which reads it, is imported."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env |= {"OMP_WAIT_POLICY": own} if own else {}
    command = [sys.executable, "-c", RUN_AS_MAIN.format(root=str(ROOT))]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    assert done.stdout.splitlines()[-1] == f"waits: {own or 'PASSIVE'} False", done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--face", "nowhere.jpg", "--prompt", "x"], "There is no photo nowhere.jpg"),
        (["--prompt", "x"], "--face FILE is missing"),
        (["--face", "x.jpg"], "--prompt TEXT is missing"),
        (["--face", "x.jpg", "--prompt", " "], "prompt field is required"),
        (["--face", "x.jpg", "--prompt", "x", "--s-scale", "3"], "between 0 and 2, got 3"),
        (["--face", "x.jpg", "--prompt", "x", "--style", "oil"], "invalid choice: 'oil'"),
        (["--face", "x.jpg", "--prompt", "x", "--seed", "9" * 400], "between 0 and 18446744073709551615, got 999"),
        (["--face", "https://example.com/a.jpg", "--prompt", "x"], "takes a photo file, no URL or data URI: https://example"),
        (["--face", "data:image/png;base64," + "A" * 5000, "--prompt", "x"], "takes a photo file, no URL or data URI"),
        (["--demo", "--models", "nowhere"], "nowhere lacks an SD1.5 or SDXL checkpoint"),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(generate, arguments, says):
    code, error = generate(*arguments, "-o", "out")
    assert code == 2 and says in error
    assert len(error.splitlines()[-1]) < 1000
    assert not Path("out").exists()


def test_help_of_face_is_of_a_file(generate):
    code, text = generate("--help")
    assert code == 0
    assert "Photo file of the face" in " ".join(text.split()) and "URL" not in text


def test_no_face_in_the_photo(generate, tiny):
    Image.new("RGB", (300, 200), "gray").save("wall.png")
    code, error = generate("--face", "wall.png", "--prompt", "x", "--models", tiny)
    assert code == 2 and "No face found in wall.png, 300x200 pixels" in error
    assert "Use a sharp, well-lit photo" in error and "node" not in error.lower()
    assert not Path("out").exists()


def test_a_photo_of_an_iphone_is_told_what_to_do(generate, tiny):
    Path("photo.heic").write_bytes(HEIC)
    code, error = generate("--face", "photo.heic", "--prompt", "x", "--models", tiny)
    assert code == 2 and "photo.heic" in error and "It is a HEIC picture" in error and "Save it as JPEG first." in error


@pytest.mark.parametrize("library", ["torch", "diffusers", "transformers", "skimage"])
def test_a_missing_library_is_named_with_the_cure(generate, monkeypatch, library):
    for importer in ("demo", "photos"):
        monkeypatch.delitem(sys.modules, f"facegen.standalone.{importer}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    code, error = generate("--demo", "--models", "tiny")
    assert code == 2 and f"library {library} can't be imported" in error
    assert "pip install -r requirements.txt -r requirements-standalone.txt" in error


class Stub:
    """An engine that finds a face and would draw it."""

    method = "faceid"

    def embed(self, photo, name):
        return None, photo

    def generate(self, request, embeds, progress=None):
        raise AssertionError("drawn")


@pytest.mark.parametrize("out", ["a.txt", "a.txt/sub", "/proc"])
def test_a_folder_that_takes_no_pictures_is_refused_before_drawing(generate, monkeypatch, out):
    if out == "/proc" and not sys.platform.startswith("linux"):
        pytest.skip("a folder that nobody can write to")
    Path("a.txt").write_text("kept")
    monkeypatch.setattr(cli, "load_engine", lambda *_: Stub())
    code, error = generate("--demo", "-o", out)
    assert code == 2 and f"No pictures can be written to {out}" in error
    assert Path("a.txt").read_text() == "kept"


def test_face_and_settings_reach_the_picture(engine, request_, astronaut):
    embeds, crop = engine.embed(astronaut)
    assert crop.shape == (1, 224, 224, 3) and embeds.clip_hidden.shape[0] == 1
    base = engine.generate(request_, embeds).images
    assert torch.equal(engine.generate(request_, embeds).images, base)
    other = replace(embeds, identity=-embeds.identity)
    assert (engine.generate(request_, other).images - base).abs().mean() > 0.005
    for changes in ({"s_scale": 0.0}, {"style": "comic"}, {"guidance_scale": 1.0}):
        assert not torch.equal(engine.generate(replace(request_, **changes), embeds).images, base), changes


def test_a_missing_seed_is_chosen_and_reported(engine, request_, astronaut):
    embeds, _ = engine.embed(astronaut)
    results = [engine.generate(replace(request_, seed=None), embeds) for _ in range(2)]
    assert results[0].request.seed != results[1].request.seed
    again = engine.generate(results[0].request, embeds)
    assert torch.equal(again.images, results[0].images)


class Alarm:
    name = "alarm"

    def check(self, images):
        return [SafetyResult(0.9, (Detection("X", 0.9, (0, 0, 8, 8)),)) for _ in images]


def test_unsafe_pictures_leave_redacted_or_not_at_all(engine, request_, astronaut, monkeypatch):
    embeds, _ = engine.embed(astronaut)
    monkeypatch.setattr(engine, "checker", Alarm())
    result = engine.generate(request_, embeds)
    assert result.flagged == [True] and result.images.max() == 0
    monkeypatch.setattr(Alarm, "check", lambda self, images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.generate(request_, embeds)


@pytest.mark.parametrize("action", SAFETY_CHECKER_TYPES)
def test_the_command_line_uses_the_same_filter(engine, request_, astronaut, monkeypatch, action):
    embeds, _ = engine.embed(astronaut)
    unchecked = engine.generate(replace(request_, safety_checker=False), embeds)
    assert unchecked.flagged == [False]
    monkeypatch.setattr(engine, "checker", DetailChecker(0.03))
    result = engine.generate(replace(request_, safety_checker_type=action), embeds)
    expected = filter_images(unchecked.images, DetailChecker(0.03), action)
    assert result.flagged == expected.flagged == [True]
    assert torch.equal(result.images, expected.images) and not torch.equal(result.images, unchecked.images)


def test_models_folder_says_all_that_is_missing(tmp_path):
    with pytest.raises(FaceGenError, match=r"checkpoints/.*ipadapter/.*clip_vision/.*insightface/models"):
        find_model_files(tmp_path)


@pytest.fixture
def models(tiny, tmp_path):
    """The tiny models by links, one level of folders deep, to add to and take from."""
    folder = tmp_path / "models"
    for entry in tiny.glob("*/*"):
        (folder / entry.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / entry.parent.name / entry.name).symlink_to(entry)
    return folder


def test_several_checkpoints_need_a_choice(tiny, models):
    for name in ("a", "sub/b"):
        (models / "checkpoints" / name).parent.mkdir(exist_ok=True)
        (models / "checkpoints" / name).symlink_to(tiny / "checkpoints" / "tiny")
    with pytest.raises(FaceGenError, match="--checkpoint: several were found. There are: a, sub/b, tiny"):
        find_model_files(models)
    assert find_model_files(models, checkpoint="sub/b").checkpoint.name == "b"
    with pytest.raises(FaceGenError, match="there is no 'c'"):
        find_model_files(models, checkpoint="c")


def test_files_in_subfolders_are_found(models):
    for kind in ("ipadapter", "clip_vision"):
        (models / kind / "deep" / "er").mkdir(parents=True)
        (file,) = models.glob(f"{kind}/*.safetensors")
        file.rename(models / kind / "deep" / "er" / file.name)
    found = find_model_files(models)
    assert found.faceid.parent.name == found.clip_vision.parent.name == "er"


def test_buffalo_l_is_the_face_pack_where_there_are_several(tiny, models):
    packs = models / "insightface" / "models"
    packs.unlink()
    packs.mkdir()
    for name in ("antelopev2", "buffalo_s"):
        (packs / name).symlink_to(tiny / "insightface" / "models" / "tiny")
    with pytest.raises(FaceGenError, match="--face-pack: several were found. There are: antelopev2, buffalo_s"):
        find_model_files(models)
    (packs / "buffalo_l").symlink_to(tiny / "insightface" / "models" / "tiny")
    assert find_model_files(models).face_pack.name == "buffalo_l"
    assert find_model_files(models, face_pack="buffalo_s").face_pack.name == "buffalo_s"


def test_only_faceid_adapters_count_as_such(models):
    save_file({"image_proj.proj.weight": torch.zeros(2, 2)}, models / "ipadapter" / "a_plain_ip-adapter.safetensors")
    (models / "ipadapter" / "broken.bin").write_bytes(b"<html>")
    assert find_model_files(models).faceid.name == "ip-adapter-faceid-plusv2_tiny.safetensors"
    (models / "ipadapter" / "ip-adapter-faceid-plusv2_tiny.safetensors").unlink()
    with pytest.raises(FaceGenError, match="no FaceID adapter among a_plain_ip-adapter.safetensors, broken.bin"):
        find_model_files(models)


def test_the_clip_vision_model_is_the_one_that_the_adapter_reads(tiny, models):
    folder = models / "clip_vision"
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(1024)}, folder / "a.safetensors")
    save_file({"x": torch.zeros(1)}, folder / "b.safetensors")
    assert find_model_files(models).clip_vision.name == "tiny.safetensors"
    with pytest.raises(FaceGenError, match=r"of width 64 in clip_vision. Found: a.safetensors \(width 1024\)\.$"):
        find_model_files(models, clip_vision="a.safetensors")
    (folder / "other.safetensors").symlink_to(tiny / "clip_vision" / "tiny.safetensors")
    with pytest.raises(FaceGenError, match="--clip-vision: several were found"):
        find_model_files(models)
    assert find_model_files(models, clip_vision="other.safetensors").clip_vision.name == "other.safetensors"
    for name in ("other", "tiny"):
        (folder / f"{name}.safetensors").unlink()
    with pytest.raises(FaceGenError, match=r"Found: a.safetensors \(width 1024\), b.safetensors \(no CLIP vision model\)"):
        find_model_files(models)


def test_comfyui_s_models_are_the_default(models, monkeypatch, capsys):
    nothing = dict.fromkeys(cli.MODEL_OPTIONS)
    pack = models.parent / "custom_nodes" / "facegen"
    monkeypatch.setattr(comfyui, "PACK", pack)
    assert cli.default_models(nothing).checkpoint.name == "tiny"
    (models / "checkpoints" / "tiny").rename(models / "moved")
    assert cli.default_models(nothing) is None
    said = capsys.readouterr().err
    assert "lacks an SD1.5 or SDXL checkpoint" in said and f"models download dreamshaper-8 --models {models}" in said
    with pytest.raises(MissingFiles):
        cli.default_models(nothing | {"faceid": "ip-adapter-faceid-plusv2_tiny.safetensors"})
    for name in ("a", "b"):
        (models / "checkpoints" / f"{name}.safetensors").touch()
    with pytest.raises(FaceGenError, match="--checkpoint: several were found"):
        cli.default_models(nothing)
    monkeypatch.setattr(comfyui, "PACK", models.parent / "elsewhere")
    assert cli.default_models(nothing) is None
    with pytest.raises(FaceGenError, match="--face-pack: say with --models DIR"):
        cli.default_models(nothing | {"face_pack": "buffalo_l"})


def test_photos_are_read_upright_and_as_rgb(tmp_path):
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    picture = photos.read_photo(tmp_path / "turned.png")
    assert picture.shape == (1, 40, 20, 3)
    assert picture[0, 5, 10].tolist() == [0, 0, 1] and picture[0, 35, 10].tolist() == [1, 0, 0]
    for mode in ("L", "RGBA", "P", "CMYK"):
        Image.new("RGB", (8, 8), "white").convert(mode).save(tmp_path / "m.tiff")
        assert photos.read_photo(tmp_path / "m.tiff").shape == (1, 8, 8, 3)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    with pytest.raises(FaceGenError, match="bad.jpg can't be read as a photo"):
        photos.read_photo(tmp_path / "bad.jpg")


def test_sixteen_bit_grey_is_scaled(tmp_path):
    Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).save(tmp_path / "grey.png")
    picture = photos.read_photo(tmp_path / "grey.png")
    assert (picture[0, 0] * 255).round().tolist() == [[0] * 3, [100] * 3, [255] * 3]


def test_a_corrupted_png_is_refused(tmp_path):
    photos.to_image(torch.rand(400, 400, 3)).save(tmp_path / "a.png")
    first, *rest = (tmp_path / "a.png").read_bytes().split(b"IDAT", 2)
    (tmp_path / "a.png").write_bytes(first + b"IDAT" + b"\0\0\0\0".join(rest))  # the second chunk's name
    with pytest.raises(FaceGenError, match="a.png can't be read as a photo"):
        photos.read_photo(tmp_path / "a.png")


def test_a_png_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    picture = torch.rand(8, 8, 3)
    photos.save_png(picture, tmp_path / "a" / "b.png", {"prompt": "é"})
    saved = Image.open(tmp_path / "a" / "b.png")
    assert json.loads(saved.text["parameters"]) == {"prompt": "é"}
    assert np.array_equal(np.asarray(saved), (picture * 255).round().to(torch.uint8).numpy())

    def full(self, *_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(FaceGenError, match="b.png can't be written: disk full"):
        photos.save_png(picture, tmp_path / "a" / "b.png", {})
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]
    assert Image.open(tmp_path / "a" / "b.png").text
