"""`serve` itself, twice, with the tiny model: the options, and pictures that are the same whichever front draws them."""

import base64
import json
import urllib.request

import pytest

from facegen.models.tiny_files import DRAWN_FACE, TINY
from facegen.standalone.cli.main import main
from far_comfy import FarComfy
from local_api_server import BODY
from serve_process import ServeProcess
from waiting import until

pytest.importorskip("psycopg", reason="needs requirements-scale.txt")

SUBMIT = "/api/v6/image_editing/face_gen"


def fetch(server, identifier, wait):
    return server.post(f"/api/v6/image_editing/fetch/{identifier}", {}, Prefer=f"wait={wait}")


def picture(server, answer):
    assert answer["status"] == "success", answer
    return urllib.request.urlopen(server.url + "/api/" + answer["output"][0].partition("/api/")[2]).read()


def test_a_front_that_dies_while_it_draws(tmp_path, database):
    face = base64.b64encode((TINY / DRAWN_FACE).read_bytes()).decode()
    body = {"prompt": "blue background", "face_image": face, "style": "comic", "num_inference_steps": 41, "seed": 7}
    body |= {"width": 128, "height": 128}
    options = ["--jobs", database, "--results", str(tmp_path / "results")]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    settings = {"lease_seconds": 4}
    with (
        ServeProcess(tmp_path / "one", *options, **settings) as one,
        ServeProcess(tmp_path / "two", *options, **settings) as two,
    ):
        one.wait_until_ready()
        two.wait_until_ready()
        calm = picture(two, last(two, one.post(SUBMIT, body)["id"]))
        identifier = one.post(SUBMIT, body, Prefer="wait=0")["id"]
        until(lambda: fetch(one, identifier, 0)["meta"].get("progress", 0) > 0, 60)
        one.process.kill()
        assert picture(two, last(two, identifier)) == calm
        two.process.terminate()
        assert two.process.wait(60) == 0


def test_a_front_before_comfyuis_dies(tmp_path, database):
    """What it had put into a ComfyUI's queue is delivered by the other one, and made once."""
    options = ["--jobs", database, "--results", str(tmp_path / "results")]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    settings = {"lease_seconds": 4, "default": "sd15"}
    with FarComfy(tmp_path / "comfy") as comfy:
        comfy.gate.clear()
        options += ["--comfyui", comfy.url]
        with (
            ServeProcess(tmp_path / "one", *options, **settings) as one,
            ServeProcess(tmp_path / "two", *options, **settings) as two,
        ):
            one.wait_until_ready()
            two.wait_until_ready()
            identifier = one.post(SUBMIT, BODY, Prefer="wait=0")["id"]
            until(lambda: comfy.running, 60)
            one.process.kill()
            until(lambda: "is taken over" in two.log.read_text(), 60)
            comfy.gate.set()
            assert picture(two, last(two, identifier))
            assert len(comfy.prompts) == 1


def last(server, identifier):
    found = []
    until(lambda: found.append(fetch(server, identifier, 10)) or found[-1]["status"] != "processing", 120)
    return found[-1]


@pytest.mark.parametrize(
    ("options", "settings", "says"),
    [
        (["--jobs", "mysql://a/b"], {}, "jobs must be the URL of a PostgreSQL database, such as postgresql://"),
        (["--jobs", "postgresql://127.0.0.1:1/none"], {}, "results has to name a place that all of them reach"),
        (
            ["--jobs", "postgresql://127.0.0.1:1/none", "--results", "{base}"],
            {},
            "The database of the requests can't be reached",
        ),
        (["--results", "nosuch://a/b"], {}, "Results can't be kept at nosuch://…"),
        ([], {"lease_seconds": 0.1}, "lease_seconds is 0.1; it must be at least 1"),
        ([], {"jobs": 5}, "jobs must be str"),
    ],
)
def test_it_doesn_t_start_and_says_why(tmp_path, capsys, options, settings, says):
    if settings:
        (tmp_path / "local_api.json").write_text(json.dumps(settings))
        (tmp_path / "local_api.json").chmod(0o600)
    given = [option.format(base=tmp_path) for option in options]
    assert main(["serve", "--data", str(tmp_path), *given]) == 2
    assert says in capsys.readouterr().err
