"""`serve` as a user starts it: the tiny model by default, the documented commands, and every way to end it."""

import base64
import io
import json
import re
import shutil
import signal
import subprocess
import urllib.request

import numpy as np
import pytest
from PIL import Image

from facegen.models.tiny_files import DRAWN_FACE, TINY
from facegen.standalone.cli.main import main
from host_server import free_port
from official_clients import head_shot_by_the_python_sdk, needs_node, polled_by_javascript, portraits_by_the_python_sdk
from pack import ROOT
from serve_process import ServeProcess
from waiting import until

FACE = f"data:image/png;base64,{base64.b64encode((TINY / DRAWN_FACE).read_bytes()).decode()}"
BODY = {"prompt": "a private person, blue background", "face_image": FACE, "style": "comic", "num_inference_steps": 21}
KEY = "sk-live-of-a-hosted-account"
SUBMIT = "/api/v6/image_editing/face_gen"
PATIENT = {"hold_seconds": 600}  # however busy the machine is, an answer has its pictures


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    with ServeProcess(tmp_path_factory.mktemp("serve"), steps=3, **PATIENT) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def asleep(tmp_path_factory):
    """It makes noise in a second, for those to whom it's all the same what a picture shows."""
    with ServeProcess(tmp_path_factory.mktemp("asleep"), asleep=1, **PATIENT) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def impatient(asleep):
    """The same, but its first answer comes before the pictures."""
    file = asleep.base / "local_api.json"
    before = file.read_text()
    file.write_text(json.dumps({"hold_seconds": 0.1, "poll_seconds": 2}))
    yield asleep
    file.write_text(before)


def pictures(answer):
    assert answer["status"] == "success", answer
    read = [Image.open(io.BytesIO(urllib.request.urlopen(url).read())) for url in answer["output"]]
    assert all(np.asarray(picture, dtype=np.float32).std() > 10 for picture in read)
    return read


def test_a_photo_and_a_prompt_become_portraits(serve):
    answer = serve.post(SUBMIT, {**BODY, "samples": 2, "width": "256", "height": "256"})
    assert [picture.size for picture in pictures(answer)] == [(256, 256)] * 2
    assert answer["meta"]["flavour"] == "tiny" and "small demonstration model" in answer["tip"]
    assert len(answer["meta"]["likeness"]) == 2 and answer["meta"]["files"]["face_pack"] == "tiny"
    again = serve.post(f"/api/v6/image_editing/fetch/{answer['id']}", {})
    assert again == answer


def test_head_shot_too(serve):
    answer = serve.post("/api/v6/image_editing/head_shot", {**BODY, "guidance_scale": 9})
    assert [picture.size for picture in pictures(answer)] == [(256, 256)], "the photo's size"
    assert "guidance_scale was 9 and is now 5." in answer["tip"]


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("bash"), reason="needs cURL and a shell")
def test_the_page_s_command(tmp_path):
    """docs/local-api.md, with this server's port; nothing is made quicker here."""
    (command,) = re.findall(r"^printf .*$", (ROOT / "docs" / "local-api.md").read_text(encoding="utf-8"), re.MULTILINE)
    with ServeProcess(tmp_path, **PATIENT) as serve:
        serve.wait_until_ready()
        here = command.replace("127.0.0.1:8188", f"127.0.0.1:{serve.port}") + " --silent"
        done = subprocess.run(["bash", "-c", here], cwd=ROOT, check=True, capture_output=True, timeout=300)
        assert [picture.size for picture in pictures(json.loads(done.stdout))] == [(256, 256)]


@pytest.mark.parametrize("enterprise", [False, True])
def test_the_python_sdk(asleep, enterprise):
    assert len(pictures(portraits_by_the_python_sdk(f"{asleep.url}/api", FACE, enterprise, width=128, height=128))) == 2


@pytest.mark.parametrize("enterprise", [False, True])
def test_the_python_sdk_s_head_shot(asleep, enterprise):
    pictures(head_shot_by_the_python_sdk(f"{asleep.url}/api", FACE, enterprise, width=128, height=128))


@needs_node
def test_a_polling_javascript_client(impatient):
    pictures(polled_by_javascript(f"{impatient.url}/api", KEY, **{**BODY, "width": 128, "height": 128}))


def test_what_is_private_is_not_in_the_log(serve):
    serve.post(SUBMIT, {**BODY, "key": KEY}, X_Request_Id="a-request-of-mine")
    until(lambda: any(line.get("request") == "a-request-of-mine" and "outcome" in line for line in serve.lines()))
    text = serve.log.read_text()
    assert not [one for one in ("private", "sk-live", FACE[100:140]) if one in text]
    about = [line["message"] for line in serve.lines() if line.get("request") == "a-request-of-mine"]
    assert any(message.startswith("FaceGen: work ") for message in about), "its work's lines have its id, too"


def test_neither_key_nor_face_is_left_anywhere(serve):
    """After all of the above: not in the store, the results, or what is left of photos."""
    pictures(serve.post(SUBMIT, {**BODY, "key": KEY}))
    files = [file for file in serve.base.rglob("*") if file.is_file()]
    texts = [file.read_bytes().decode("latin-1") for file in files]
    assert len(files) > 3 and all(KEY not in text and FACE[100:300] not in text for text in texts)
    assert not any((serve.base / "photos").iterdir())


def test_metrics_of_real_pictures(serve):
    serve.post(SUBMIT, BODY)
    text = urllib.request.urlopen(f"{serve.url}/metrics").read().decode()
    steps = int(float(re.search(r"^facegen_step_seconds_count (\S+)", text, re.MULTILINE)[1]))
    made = int(float(re.search(r"^facegen_picture_seconds_count (\S+)", text, re.MULTILINE)[1]))
    assert steps >= 3 and made >= 1 and steps >= 3 * made / 2


# --- the end


def long_request(server):
    """One that takes a while, in work."""
    answer = server.post(SUBMIT, BODY, Prefer="wait=0")
    until(lambda: fetched(server, answer["id"])["meta"].get("progress", 0) > 0, 60)
    return answer["id"]


def fetched(server, identifier):
    return server.post(f"/api/v6/image_editing/fetch/{identifier}", {}, Prefer="wait=0")


def test_stopped_stopped_at_once_or_killed_its_successor_knows_what_became_of_each_request(tmp_path):
    """Four servers of one data folder, one after the other. How soon an engine stops is asked in test_engine_backend."""
    with ServeProcess(tmp_path, asleep=2, **PATIENT) as first:
        first.wait_until_ready()
        finished = stopped_it_finishes_what_is_in_work(first)
    with ServeProcess(tmp_path, asleep=2) as second:
        second.wait_until_ready()
        assert fetched(second, finished)["status"] == "success"
        interrupted = stopped_twice_it_says_what_it_interrupts(second)
    with ServeProcess(tmp_path, asleep=2) as third:
        third.wait_until_ready()
        answer = fetched(third, interrupted)
        assert answer["status"] == "failed" and answer["message"].startswith("serve was stopped while this request was in work")
        done = third.post(SUBMIT, BODY)
        killed = long_request(third)
        assert any((tmp_path / "photos").iterdir())
        third.process.kill()
    with ServeProcess(tmp_path, asleep=2) as fourth:  # what was done is there, ids go on, no photo is left
        fourth.wait_until_ready()
        assert fetched(fourth, done["id"])["status"] == fetched(fourth, finished)["status"] == "success"
        assert "stopped while this request was in work" in fetched(fourth, killed)["message"]
        assert not any((tmp_path / "photos").iterdir())
        assert fourth.post(SUBMIT, BODY)["id"] > killed


def stopped_it_finishes_what_is_in_work(server):
    identifier = long_request(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    messages = [line["message"] for line in server.lines()]
    assert "FaceGen: stopping; requests in work: 1" in messages and messages[-1] == "FaceGen: stopped"
    assert not any("interrupted" in message for message in messages)
    return identifier


def stopped_twice_it_says_what_it_interrupts(server):
    identifier = long_request(server)
    server.process.send_signal(signal.SIGINT)
    until(lambda: any("stopping" in line["message"] for line in server.lines()))
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 0
    assert f"FaceGen: interrupted: the requests with id {identifier}" in [line["message"] for line in server.lines()]
    return identifier


# --- what the user can fix


@pytest.mark.parametrize(
    ("options", "settings", "says"),
    [
        (["--listen", "0.0.0.0"], {}, "needs a token. Set FACEGEN_API_TOKEN, or token in"),
        ([], {"token": "short"}, "has fewer than 16 characters"),
        ([], {"nosuch": 1}, "local_api.json has nosuch; known are enabled"),
        (["--models", "nowhere"], {}, "nowhere lacks an SD1.5"),
    ],
)
def test_it_doesn_t_start_and_says_why(tmp_path, capsys, monkeypatch, options, settings, says):
    monkeypatch.delenv("FACEGEN_API_TOKEN", raising=False)
    if settings:
        (tmp_path / "local_api.json").write_text(json.dumps(settings))
        (tmp_path / "local_api.json").chmod(0o600)
    assert main(["serve", "--data", str(tmp_path), *options]) == 2
    assert says in capsys.readouterr().err


def test_a_port_that_is_taken(serve, tmp_path, capsys):
    assert main(["serve", "--port", str(serve.port), "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"port {serve.port} can't be used" in said and "--port" in said


def test_a_port_that_there_is_none_of(tmp_path, capsys):
    assert main(["serve", "--data", str(tmp_path), "--port", "70000"]) == 2
    said = capsys.readouterr().err
    assert "port 70000 can't be used" in said and ".." not in said


def test_a_drain_that_there_is_none_of(tmp_path, capsys):
    assert main(["serve", "--data", str(tmp_path), "--drain", "-1"]) == 2
    assert "--drain is -1; it must be 0 or more seconds." in capsys.readouterr().err


def test_a_file_that_can_t_be_read_is_not_the_port_s_fault(tmp_path, capsys, monkeypatch):
    async def fails(*_):
        raise PermissionError(13, "Permission denied", "one.safetensors")

    monkeypatch.setattr("facegen.standalone.server.backend.EngineBackend.load", fails)
    assert main(["serve", "--data", str(tmp_path), "--port", str(free_port())]) == 2
    (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("facegen:"))
    assert "Permission denied: 'one.safetensors'" in said and "port" not in said


def test_a_data_folder_that_is_in_use(serve, capsys):
    """A second server must not take the first one's work for its own."""
    assert main(["serve", "--data", str(serve.base), "--port", str(free_port())]) == 2
    assert "another process may be serving from the same folder" in capsys.readouterr().err
