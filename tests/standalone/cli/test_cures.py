"""What the command line adds to the engine's errors: what to type."""

import importlib.util
import re
import shutil

import pytest
import torch

from facegen.contract import FaceGenRequest
from facegen.errors import (
    BrokenModelPackError,
    BrokenNudeNetError,
    MissingLibraryError,
    MissingNudeNetError,
    NotAnAdapterError,
    UnreadableFileError,
    UnsupportedCheckpointError,
    WrongBaseModelError,
    WrongClipVisionError,
    WrongRecogniserError,
)
from facegen.models import tiny_files
from facegen.standalone.cli import generate as cli
from facegen.standalone.cli.main import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `generate` with the tiny model in a folder of its own; gives its exit code and what it wrote."""
    monkeypatch.chdir(tmp_path)

    face = cli.demo_photo()

    def run(*more):
        code = main(["generate", "--models", "tiny", "--face", face, "--prompt", "a person", *more])
        return code, capsys.readouterr().err

    return run


def test_a_missing_file_of_the_tiny_model(run, tmp_path, monkeypatch):
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_files.TINY, folder)
    (folder / tiny_files.VAE).unlink()
    monkeypatch.setattr(tiny_files, "TINY", folder)
    code, told = run()
    assert code == 2 and f"folder {folder} lacks {tiny_files.VAE}. It belongs to the pack: install the pack again" in told
    assert "git checkout -- models/tiny" in told


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (MissingNudeNetError("none"), "none Run `pip install -U nudenet`"),
        (BrokenNudeNetError("bad"), "bad .*--force-reinstall"),
        (WrongBaseModelError("other"), "other Choose other files .*--checkpoint.*--faceid"),
        (WrongClipVisionError("other"), "other Choose another .*--clip-vision"),
        (UnsupportedCheckpointError("SD3"), "SD3 Choose another .*--checkpoint"),
        (WrongRecogniserError("other"), "other Choose that pack with --face-pack"),
    ],
)
def test_what_shows_while_the_pictures_are_made(run, monkeypatch, error, cure):
    class Engine:
        def embed(self, photo, name):
            return None, torch.zeros(1, 224, 224, 3)

        def generate(self, *_, **__):
            raise error

    monkeypatch.setattr(cli, "load_engine", lambda *_: Engine())
    code, told = run()
    assert code == 2 and re.search(cure, told)


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (MissingLibraryError("none", "pip install it"), "none Install it into the Python that runs this: pip install it"),
        (BrokenModelPackError("bad"), "bad Download the pack again"),
        (UnreadableFileError("cut"), "cut Download the file again"),
        (NotAnAdapterError("other"), "other Choose another file with --faceid, --instantid or --pulid"),
    ],
)
def test_models_that_cannot_be_loaded(run, monkeypatch, error, cure):
    from facegen.standalone import engine

    def fail(_):
        raise error

    monkeypatch.setattr(engine, "FaceIDAdapter", fail)
    code, told = run()
    assert code == 2 and cure in told


def without_nudenet(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "nudenet" else find_spec(name, *rest))


@pytest.mark.parametrize("more", [(), ("--demo",)], ids=["one photo", "demo"])
def test_a_missing_safety_checker_is_told_before_the_models_are_loaded(run, monkeypatch, more):
    from facegen.standalone import engine

    without_nudenet(monkeypatch)
    monkeypatch.setattr(engine, "FaceIDAdapter", lambda file: pytest.fail("loaded"))
    code, told = run(*more)
    assert code == 2 and "NudeNet is not installed" in told and "pip install -U nudenet" in told


def test_a_missing_safety_checker_is_told_before_the_pictures_are_made(tiny_engine, monkeypatch):
    without_nudenet(monkeypatch)
    monkeypatch.setattr(tiny_engine, "checker", None)
    monkeypatch.setattr(tiny_engine.checkpoint, "sample", lambda *_, **__: pytest.fail("sampled"))
    with pytest.raises(MissingNudeNetError):
        tiny_engine.generate(FaceGenRequest("a pilot", "photo.jpg"), None)


@pytest.mark.parametrize("more", [(), ("--demo",)], ids=["one photo", "demo"])
def test_models_that_fail_on_the_photo(run, monkeypatch, more):
    class Engine:
        method = "faceid"

        def embed(self, photo, name):
            raise BrokenModelPackError("failed")

    monkeypatch.setattr(cli, "load_engine", lambda *_: Engine())
    code, told = run(*more)
    assert code == 2 and "failed Download the pack again" in told


def test_a_file_that_was_named_and_cannot_be_used(run, tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(tiny_files.TINY, folder)
    cures = {
        "cut.safetensors": "Download the file again.",
        "other.safetensors": "another file with --faceid, --instantid or --pulid.",
    }
    for name, says in cures.items():
        other = (folder / tiny_files.CLIP_VISION).read_bytes()
        (folder / "ipadapter" / name).write_bytes(other if name == "other.safetensors" else other[:100])
        code, told = run("--models", str(folder), "--faceid", name)
        assert code == 2 and name in told and says in told


def test_a_demo_of_one_s_own_photo_needs_no_other(run, monkeypatch):
    monkeypatch.setattr(cli, "demo_photo", lambda: pytest.fail("asked for"))

    class Engine:
        method = "faceid"

        def embed(self, photo, name):
            raise BrokenModelPackError("failed")

    monkeypatch.setattr(cli, "load_engine", lambda *_: Engine())
    assert run("--demo")[0] == 2
