"""What `serve` is told of ComfyUIs that make its pictures: addresses, and tokens that aren't on the command line."""

import json

import pytest

from facegen.api.local.config import ConfigFile
from facegen.errors import FaceGenError
from facegen.standalone.cli.comfyui_options import COMFYUI_TOKEN, add_comfyui_arguments, comfyuis
from facegen.standalone.cli.common import Parser, add_models_argument
from facegen.standalone.cli.main import main
from facegen.standalone.cli.ray_options import add_ray_arguments
from far_comfy import FarComfy
from host_server import free_port
from serve_process import ServeProcess
from waiting import until

A, B = "http://10.0.0.5:8188", "https://gpu.example/comfy"


def backend(tmp_path, *arguments, **settings):
    file = tmp_path / "local_api.json"
    file.write_text(json.dumps(settings))
    file.chmod(0o600)
    parser = Parser()
    for add in (add_comfyui_arguments, add_ray_arguments, add_models_argument):
        add(parser)
    return comfyuis(parser.parse_args(arguments), ConfigFile(file), tmp_path)


def tokens(made):
    return {server.url: server.comfyui._headers.get("Authorization") for server in made._servers}


def test_each_gets_its_own_token(tmp_path, monkeypatch):
    monkeypatch.delenv(COMFYUI_TOKEN, raising=False)
    made = backend(tmp_path, "--comfyui", A, "--comfyui", f"{B}/", comfyui_tokens={f"{B}/": "of B "})
    assert tokens(made) == {A: None, B: "Bearer of B"}
    monkeypatch.setenv(COMFYUI_TOKEN, "of all others\n")
    made = backend(tmp_path, "--comfyui", A, "--comfyui", B, comfyui_tokens={B: "of B"})
    assert tokens(made) == {A: "Bearer of all others", B: "Bearer of B"}


@pytest.mark.parametrize(
    "url", ["10.0.0.5:8188", "ftp://10.0.0.5", "http://", "http://a:99999", "http://a/?token=x", "http://a/#x", "http://[", ""]
)
def test_what_is_no_address(tmp_path, url):
    with pytest.raises(FaceGenError, match=r"^--comfyui .* is no address of a ComfyUI\. It must be like http://10"):
        backend(tmp_path, "--comfyui", url)


def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path):
    for url in ("http://me:hunter2@a:8188", "http://hunter2@a:8188"):
        with pytest.raises(FaceGenError, match="belong into comfyui_tokens") as error:
            backend(tmp_path, "--comfyui", url)
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--comfyui", f"{A}/"], f"names {A} more than once"),
        (["--models", "/models"], "Leave --models away"),
        (["--ray", "local"], "Leave --ray away"),
    ],
)
def test_what_doesn_t_go_together(tmp_path, more, says):
    with pytest.raises(FaceGenError, match=says):
        backend(tmp_path, "--comfyui", A, *more)


def test_a_file_with_tokens_is_its_owner_s_alone(tmp_path, capsys):
    file = tmp_path / "local_api.json"
    file.write_text(json.dumps({"comfyui_tokens": {A: "secret"}}))
    file.chmod(0o644)
    assert main(["serve", "--data", str(tmp_path), "--comfyui", A, "--port", str(free_port())]) == 2
    said = capsys.readouterr().err
    assert "chmod 600" in said and "secret" not in said


def test_serve_with_a_comfyui(tmp_path):
    """In a process of its own: ready, one request, not ready when ComfyUI is gone, and no line with the token."""
    from local_api_server import BODY

    token = "a-token-for-what-stands-before"
    with FarComfy(tmp_path / "comfy", token=token) as comfy:
        settings = {"default": "sd15", "comfyui_tokens": {comfy.url: token}, "hold_seconds": 60}
        with ServeProcess(tmp_path, "--comfyui", comfy.url, **settings) as serve:
            serve.wait_until_ready()
            assert serve.post("/api/v6/image_editing/face_gen", BODY)["status"] == "success"
            comfy.stop()
            until(lambda: "gets no work" in serve.log.read_text())
            assert serve.post("/api/v6/processing/request_count", {})["request_count"] == 0
            text = serve.log.read_text()
    assert token not in text and comfy.url in text
