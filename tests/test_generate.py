"""The command line, from photo to PNG, on the tiny model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facegen.api.contract import FaceGenRequest
from facegen.models.errors import FaceGenError
from facegen.models.redaction import redact
from facegen.models.safety import Detection, SafetyResult
from facegen.standalone import cli, photos
from facegen.standalone.weights import find_weights

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from facegen.standalone.tiny import build_tiny

    folder = tmp_path_factory.mktemp("models")
    build_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def engine(tiny):
    from facegen.standalone.engine import Engine

    return Engine(find_weights(tiny))


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


def test_photo_to_pictures(tmp_path):
    """The documented command, in a folder of its own, twice."""
    Image.open(cli.demo_photo()).save(tmp_path / "photo.jpg", quality=95)
    command = ["generate", "--face", "photo.jpg", "--prompt", "a pilot", "--style", "anime", "--s-scale", "1.2", "--samples",
               "2", "--seed", "7", "--width", "64", "--height", "64", "--num-inference-steps", "21", "-o"]  # fmt: skip
    done = shell(*command, "out/", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weights are random" in done.stderr and "21/21" in done.stderr
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["anime_7_0.png", "anime_7_1.png", "contact_sheet.png"]
    first, second = (Image.open(tmp_path / "out" / name) for name in files[:2])
    parameters = json.loads(first.text["parameters"])
    assert parameters["prompt"] == "a pilot" and parameters["s_scale"] == 1.2 and parameters["seed"] == 7
    assert parameters["face_image"] == "photo.jpg" and parameters["flagged"] is False
    assert first.size == second.size == (64, 64)
    assert np.asarray(first).std() > 5 and not np.array_equal(first, second)

    assert shell(*command, "again", cwd=tmp_path).returncode == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again" / "anime_7_0.png")), np.asarray(first))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--face", "nowhere.jpg", "--prompt", "x"], "There is no photo nowhere.jpg"),
     (["--prompt", "x"], "face_image field is required"), (["--face", "x.jpg"], "prompt field is required"),
     (["--face", "x.jpg", "--prompt", "x", "--s-scale", "3"], "between 0 and 2, got 3"),
     (["--face", "x.jpg", "--prompt", "x", "--style", "oil"], "invalid choice: 'oil'"),
     (["--demo", "--models", "nowhere"], "nowhere lacks an SD1.5 checkpoint")],
)  # fmt: skip
def test_bad_input_is_one_clear_line_and_writes_nothing(tmp_path, arguments, says):
    done = shell("generate", *arguments, "-o", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_no_face_in_the_photo(tmp_path):
    Image.new("RGB", (300, 200), "gray").save(tmp_path / "wall.png")
    done = shell("generate", "--face", "wall.png", "--prompt", "x", cwd=tmp_path)
    assert done.returncode == 2 and "No face found in the 300x200 picture" in done.stderr
    assert not (tmp_path / "out").exists()


def test_face_and_settings_reach_the_picture(engine, request_, astronaut):
    from dataclasses import replace

    embeds, crop = engine.embed(astronaut)
    assert crop.shape == (1, 224, 224, 3) and embeds.clip_hidden.shape[0] == 1
    base = engine.generate(request_, embeds).images
    assert torch.equal(engine.generate(request_, embeds).images, base)
    other = replace(embeds, identity=-embeds.identity)
    assert (engine.generate(request_, other).images - base).abs().mean() > 0.005
    for changes in ({"s_scale": 0.0}, {"style": "comic"}, {"prompt": "a cook"}, {"seed": 8}, {"guidance_scale": 1.0}):
        assert not torch.equal(engine.generate(replace(request_, **changes), embeds).images, base), changes


def test_a_missing_seed_is_drawn_and_reported(engine, request_, astronaut):
    from dataclasses import replace

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
    assert redact  # the engine's own


def test_models_folder_says_all_that_is_missing(tmp_path):
    with pytest.raises(FaceGenError, match=r"checkpoints/.*ipadapter/.*clip_vision/.*insightface/models"):
        find_weights(tmp_path)


def test_several_checkpoints_need_a_choice(tiny, tmp_path):
    for entry in tiny.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "checkpoints").unlink()
    (tmp_path / "checkpoints").mkdir()
    for name in ("a", "b"):
        (tmp_path / "checkpoints" / name).symlink_to(tiny / "checkpoints" / "tiny")
    with pytest.raises(FaceGenError, match="--checkpoint: several were found. There are: a, b"):
        find_weights(tmp_path)
    assert find_weights(tmp_path, checkpoint="b").checkpoint.name == "b"
    with pytest.raises(FaceGenError, match="there is no 'c'"):
        find_weights(tmp_path, checkpoint="c")


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


def test_a_png_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    picture = torch.rand(8, 8, 3)
    photos.save_png(picture, tmp_path / "a" / "b.png", {"prompt": "é"})
    saved = Image.open(tmp_path / "a" / "b.png")
    assert json.loads(saved.text["parameters"]) == {"prompt": "é"}
    assert np.array_equal(np.asarray(saved), (picture * 255).round().to(torch.uint8).numpy())

    def full(self, *_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="disk full"):
        photos.save_png(picture, tmp_path / "a" / "b.png", {})
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]
    assert Image.open(tmp_path / "a" / "b.png").text
