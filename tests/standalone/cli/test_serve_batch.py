"""What `serve --batch` is told: how many pictures are made at once."""

import pytest
import torch

from facegen.standalone.cli.main import main
from facegen.standalone.cli.serve import room_of
from facegen.standalone.server.room import MeasuredRoom, Room


@pytest.mark.parametrize(("device", "kind"), [("cuda", MeasuredRoom), ("cpu", Room)])
def test_it_is_measured_on_a_gpu_and_one_at_a_time_without(monkeypatch, device, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    room = room_of(None)
    assert type(room) is kind
    assert type(room_of(1)) is type(room_of(4)) is Room, "a number is kept to, on a GPU, too"


@pytest.mark.parametrize("wrong", ["0", "-1", "2.5", "many", "", "9" * 5000])
def test_what_cannot_be_says_what_can(wrong, tmp_path, capsys):
    assert main(["serve", "--data", str(tmp_path), "--batch", wrong]) == 2
    said = capsys.readouterr().err
    assert f"--batch is {wrong}; it must be auto, or 1 or more." in said, "and nothing was loaded"


@pytest.mark.parametrize("elsewhere", [["--ray", "local"], ["--comfyui", "http://127.0.0.1:1"]], ids=["ray", "comfyui"])
def test_engines_elsewhere_make_one_at_a_time(elsewhere, tmp_path, capsys):
    assert main(["serve", "--data", str(tmp_path), "--batch", "2", *elsewhere]) == 2
    assert f"with {elsewhere[0]}, each engine makes one request at a time." in capsys.readouterr().err
