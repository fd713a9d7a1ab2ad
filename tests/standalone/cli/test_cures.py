"""What the command line adds to the engine's errors: what to type."""

import re
import shutil

import pytest
import torch

from facegen.errors import (
    BrokenModelPackError,
    BrokenNudeNetError,
    MissingLibraryError,
    MissingNudeNetError,
    UnreadableFileError,
)
from facegen.models import tiny_files
from facegen.standalone.cli import generate as cli
from facegen.standalone.cli.main import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `generate` with the tiny model in a folder of its own; gives its exit code and what it wrote."""
    monkeypatch.chdir(tmp_path)

    def run():
        code = main(["generate", "--models", "tiny", "--face", cli.demo_photo(), "--prompt", "a person"])
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
    ],
)
def test_a_safety_checker_that_cannot_be_loaded(run, monkeypatch, error, cure):
    class Engine:
        def embed(self, photo):
            return None, torch.zeros(1, 224, 224, 3)

        def generate(self, *_, **__):
            raise error

    monkeypatch.setattr(cli, "load_engine", lambda weights: Engine())
    code, told = run()
    assert code == 2 and re.search(cure, told)


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (MissingLibraryError("none"), 'none Run `pip install "insightface>=2.1"`'),
        (BrokenModelPackError("bad"), "bad Download the pack again"),
        (UnreadableFileError("cut"), "cut Download the file again"),
    ],
)
def test_models_that_cannot_be_loaded(run, monkeypatch, error, cure):
    from facegen.standalone import engine

    def fail(_):
        raise error

    monkeypatch.setattr(engine, "FaceIDAdapter", fail)
    code, told = run()
    assert code == 2 and cure in told
