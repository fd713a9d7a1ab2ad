"""What `serve` and `batch` are told of Ray, as far as that needs no Ray: how many replicas, and that Ray is missing."""

import argparse
import importlib.util

import pytest

from facegen.errors import FaceGenError
from facegen.standalone.cli.main import main
from facegen.standalone.cli.ray_options import add_ray_arguments, scale_of
from facegen.standalone.cluster.scale import Scale


def scale(*arguments, models="tiny"):
    parser = argparse.ArgumentParser()
    add_ray_arguments(parser)
    options = parser.parse_args(arguments)
    options.models = models
    return scale_of(options)


def test_how_many():
    assert scale() == Scale(models="", gpus=0, least=1, most=1), "the tiny model needs no GPU"
    assert scale("--replicas", "0:20", models="/models") == Scale(models="/models", gpus=1, least=0, most=20)
    assert scale("--replicas", "3", "--replica-gpus", "0.5", "--max-waiting", "7") == Scale(
        gpus=0.5, least=3, most=3, max_queued=7
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--replicas", "many"], "--replicas is many; it must be two whole numbers such as 1:4."),
        (["--replicas", "1:"], None),
        (["--replicas", ":2"], "--replicas is :2; it must be"),
        (["--replicas", "4:2"], "There can't be from 4 to 2 replicas."),
        (["--replicas", "0:0"], "There can't be from 0 to 0 replicas."),
        (["--max-waiting", "0"], "max_queued 0; both must be 1 or more."),
    ],
)
def test_what_cannot_be(arguments, says):
    if says is None:
        assert scale(*arguments).most == 1
        return
    with pytest.raises(FaceGenError, match=says):
        scale(*arguments)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
@pytest.mark.parametrize("command", ["serve", "batch"])
def test_without_ray_it_is_said_how_to_get_it(command, tmp_path, capsys):
    (tmp_path / "r.jsonl").write_text("")
    arguments = {"serve": [], "batch": [str(tmp_path / "r.jsonl"), "-o", str(tmp_path / "out")]}[command]
    assert main([command, *arguments, "--data", str(tmp_path), "--ray", "local"]) == 2
    assert "The Python library ray" in (said := capsys.readouterr().err)
    assert "pip install -r requirements.txt -r requirements-standalone.txt -r requirements-scale.txt" in said
