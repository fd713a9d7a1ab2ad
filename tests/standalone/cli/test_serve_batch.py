"""What `serve --batch` is told: how many pictures are made at once."""

from types import SimpleNamespace

import pytest
import torch

from facegen.standalone.cli.main import main
from facegen.standalone.server import backend as backend_module
from facegen.standalone.server.queue.room import MeasuredRoom, Room

WORK = SimpleNamespace(files=None, asked=SimpleNamespace(width=512, height=512))


class Started(Exception):
    """The backend was about to be made; `args[0]` is its room."""


@pytest.fixture
def room(monkeypatch, tmp_path):
    """room(device, …): with what room `serve` makes its backend, on that device and with these options."""

    def backend(engines, metrics, room):
        raise Started(room)

    def run(device, *options):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
        monkeypatch.setattr(backend_module, "EngineBackend", backend)
        with pytest.raises(Started) as started:
            main(["serve", "--data", str(tmp_path), *options])
        return started.value.args[0]

    return run


def test_it_is_measured_on_a_gpu_and_one_at_a_time_without(room):
    assert type(room("cuda")) is type(room("cuda", "--batch", "auto")) is MeasuredRoom
    assert type(alone := room("cpu")) is Room and alone.of(WORK) == 1
    for device in ("cuda", "cpu"):
        assert type(some := room(device, "--batch", "3")) is Room and some.of(WORK) == 3, "a number is kept to"


@pytest.mark.parametrize("wrong", ["0", "-1", "2.5", "many", "", "9" * 5000])
def test_what_cannot_be_says_what_can(wrong, tmp_path, capsys):
    assert main(["serve", "--data", str(tmp_path), "--batch", wrong]) == 2
    said = capsys.readouterr().err
    assert f"--batch is {wrong}; it must be auto, or 1 or more." in said, "and nothing was loaded"


@pytest.mark.parametrize("elsewhere", [["--ray", "local"], ["--comfyui", "http://127.0.0.1:1"]], ids=["ray", "comfyui"])
def test_engines_elsewhere_make_one_at_a_time(elsewhere, tmp_path, capsys):
    assert main(["serve", "--data", str(tmp_path), "--batch", "2", *elsewhere]) == 2
    assert f"with {elsewhere[0]}, each engine makes one request at a time." in capsys.readouterr().err
