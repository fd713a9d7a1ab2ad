"""The ModelsLab node inside a real ComfyUI, against a loopback server that speaks the service's contract."""

import asyncio
import base64
import io
import json
import re
import time

import aiohttp
import numpy as np
import pytest
import torch
from PIL import Image

from facegen.contract import ENDPOINT_NAMES, ENDPOINTS, FIELDS
from facegen.errors import FaceGenError
from modelslab_server import KEY, RED, ModelsLabServer, Reply, error, png, processing, success

NODE = "FaceGenModelsLab"


@pytest.fixture
def service(base_directory):
    """The hosted service, and a profile `test` for it in ComfyUI's user folder."""
    folder = base_directory / "user" / "facegen"
    folder.mkdir(exist_ok=True)
    file = folder / "modelslab.json"
    with ModelsLabServer() as running:
        file.write_text(json.dumps({"test": {"key": KEY, "base_url": running.url}}))
        file.chmod(0o600)
        yield running
        file.unlink()


@pytest.fixture
def graph(server, service):
    """A photo with EXIF, the node, its picture saved and its response shown. The seed is new, so that nothing is cached."""
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    rgb = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(rgb).save(server.base / "input" / "with_exif.jpg", exif=exif)
    values = {name: field.default for name, field in FIELDS.items()}
    values |= {"prompt": "a woman", "face_image": ["1", 0], "base64": True, "seed": service.port, "webhook": "", "track_id": ""}
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "with_exif.jpg"}},
        "2": {"class_type": NODE, "inputs": {**values, "profile": "test", "timeout": 30, "request_id": ""}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": f"remote{service.port}"}},
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
    }


def places_of_the_key(server, *texts):
    """Where the key turns up: ComfyUI's log, history, node list, or any file of its folders but the profile file."""
    heard = {"log": server.log.read_text(), "history": server.request("/history").decode(), "texts": "".join(map(str, texts))}
    heard["object_info"] = server.request(f"/object_info/{NODE}").decode()
    heard |= {
        str(f): f.read_bytes().decode("latin-1") for f in server.base.rglob("*") if f.is_file() and f.stat().st_size < 1e7
    }
    return [place for place, text in heard.items() if KEY in text and not place.endswith("user/facegen/modelslab.json")]


def test_fields_are_the_contracts(pack_nodes):
    inputs = {i.id: i for i in pack_nodes[NODE].GET_SCHEMA().inputs}
    assert list(inputs)[: len(FIELDS)] == list(FIELDS)
    for name, field in FIELDS.items():
        widget = inputs[name]
        if field.minimum is not None:  # of all endpoints: a request is checked against its own
            rules = [endpoint.fields[name] for endpoint in ENDPOINTS.values() if name in endpoint.fields]
            assert widget.min == min(rule.minimum for rule in rules), name
            assert widget.max == max(rule.maximum for rule in rules), name
        if field.choices:
            assert widget.options == list(field.choices)
        if name not in ("face_image", "base64", "seed"):
            assert widget.tooltip == field.description
            assert widget.default == (field.default or widget.default)
    assert list(inputs)[-1] == "endpoint" and inputs["endpoint"].options == list(ENDPOINT_NAMES)
    assert inputs["endpoint"].optional
    schema = pack_nodes[NODE].GET_SCHEMA()
    assert "leave this machine" in schema.description and "It is sent to the service" in inputs["face_image"].tooltip
    assert not schema.is_api_node
    assert not any("key" in name for name in inputs)


def test_photo_to_picture_once_and_the_key_nowhere(server, service, graph):
    service.fetches = [processing(), success(service.link(), meta={"key": KEY, "echo": f"k={KEY}"}, tip=f"your key is {KEY}")]
    begin = time.monotonic()
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", server.tail()
    assert time.monotonic() - begin < 60
    (saved,) = entry["outputs"]["3"]["images"]
    with Image.open(server.base / "output" / saved["subfolder"] / saved["filename"]) as picture:
        assert picture.size == (64, 96) and picture.convert("RGB").getpixel((5, 5)) == RED
        texts = picture.text
    assert json.loads(texts["prompt"])["2"]["inputs"]["profile"] == "test"
    response = json.loads(entry["outputs"]["4"]["text"][0])
    assert response["id"] == 123 and response["output"] == [service.link()] and response["meta"]["echo"] == "k=***"

    (body,) = service.bodies
    sent = base64.b64decode(body["face_image"].removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(sent)) as photo:
        assert photo.size == (120, 90) and not photo.getexif()
    assert b"Secret Camera" not in sent
    assert (body["key"], body["webhook"], body["track_id"], body["seed"], body["base64"]) == (
        KEY,
        None,
        None,
        service.port,
        True,
    )
    assert set(body) == {"key", *FIELDS}

    again = server.messages(server.run(graph))["execution_cached"]["nodes"]
    assert "2" in again and (service.billed, len(service.bodies)) == (1, 1)
    assert "took request 123" in server.log.read_text()
    assert places_of_the_key(server, texts, response) == []


@pytest.mark.newest
def test_another_endpoint_gets_what_it_knows(server, service, graph):
    graph["2"]["inputs"] |= {"endpoint": "head_shot", "guidance_scale": 4.0}
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", server.tail()
    (body,) = service.bodies
    assert set(body) == {"key", *FIELDS} - {"style"}
    assert service.heads[0].startswith("POST /api/v6/image_editing/head_shot ")
    graph["2"]["inputs"]["guidance_scale"] = 7.5
    failure = server.messages(server.run(graph))["execution_error"]["exception_message"]
    assert "ModelsLab Face Generator: The guidance_scale field must be between 1 and 5, got 7.5." in failure
    assert len(service.bodies) == 1


@pytest.mark.newest
def test_errors_reach_the_graph_without_the_key(server, service, graph):
    service.submits = [Reply(error(f"Invalid API key: {KEY}"), 401)]
    entry = server.run(graph)
    failure = server.messages(entry)["execution_error"]
    assert failure["node_id"] == "2" and failure["exception_type"].endswith("RemoteError")
    assert re.search(
        r"^ModelsLab Face Generator: .* refuses the API key \(HTTP 401\): "
        r"Invalid API key: \*\*\*. Correct the key in .*modelslab.json",
        failure["exception_message"],
    )
    service.submits = [Reply(f"<html>{KEY}</html>", 502, billed=True)]
    failure = server.messages(server.run(graph))["execution_error"]
    assert "It may have been billed" in failure["exception_message"]
    assert (service.billed, len(service.bodies)) == (1, 2)
    assert places_of_the_key(server) == []


def test_the_profiles_are_offered_by_name(server, service):
    inputs = server.get(f"/object_info/{NODE}")[NODE]["input"]["required"]
    kind, options = inputs["profile"]
    assert (kind if isinstance(kind, list) else options["options"]) == ["default", "test"]
    assert server.get("/facegen/settings")["modelslab"] == {"profiles": ["default", "test"]}


@pytest.mark.newest
def test_nothing_is_sent_without_a_key_or_with_an_open_file(server, service, graph):
    graph["2"]["inputs"]["profile"] = "default"
    with pytest.raises(RuntimeError, match="No API key is configured, so nothing is sent"):
        server.queue(graph)
    graph["2"]["inputs"]["profile"] = "nobody"
    with pytest.raises(RuntimeError, match="There is no profile 'nobody'.*it has test"):
        server.queue(graph)
    graph["2"]["inputs"]["profile"] = "test"
    (server.base / "user" / "facegen" / "modelslab.json").chmod(0o644)
    with pytest.raises(RuntimeError, match="chmod 600"):
        server.queue(graph)
    assert service.connections == 0


@pytest.mark.parametrize("phase", ["submit", "wait", "fetch", "download"])
def test_cancel_ends_without_waiting_for_the_service(server, service, graph, phase):
    slow = Reply(processing(), delay=600)
    service.submits = {"submit": [slow], "wait": [processing(eta=600)]}.get(phase, [processing(eta=0)])
    service.fetches = [slow] if phase == "fetch" else [success(service.link())]
    service.files["/result/a"] = [Reply(png(), drip=60)]
    graph["2"]["inputs"]["timeout"] = 600
    prompt = server.queue(graph)
    reached = {
        "submit": lambda: service.bodies,
        "wait": lambda: service.bodies,
        "fetch": lambda: service.fetched,
        "download": lambda: service.downloaded,
    }[phase]
    wait_until(reached, server)
    time.sleep(0.2)
    server.request("/interrupt", {})
    wait_until(lambda: prompt in server.get(f"/history/{prompt}"), server)
    assert "execution_interrupted" in server.messages(server.wait(prompt))
    said = "may have been billed" if phase == "submit" else "took request 123"
    assert said in server.tail(8)
    assert len(service.bodies) == 1


def wait_until(true, server):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, server.tail()
        time.sleep(0.02)


def test_paid_work_is_fetched_by_id(server, service, graph):
    graph["2"]["inputs"] |= {"request_id": " 77 ", "prompt": ""}
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", server.tail()
    assert (service.bodies, service.billed) == ([], 0)
    assert {path for path, _ in service.fetched} == {"/api/v6/image_editing/fetch/77"}


def test_the_node_shows_id_state_and_time(server, service, graph):
    """What the browser is sent while the node waits."""
    service.submits = [processing(5, eta=3)]

    async def listen():
        texts = []
        host = f"http://127.0.0.1:{server.port}"
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{host}/ws?clientId=looker") as socket:
            await session.post(f"{host}/prompt", json={"prompt": graph, "client_id": "looker"})
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY and message.data[:4] == b"\0\0\0\3":  # text on a node
                    texts.append(message.data[9:].decode())
                    assert message.data[4:9] == b"\0\0\0\x012"
                elif message.type is aiohttp.WSMsgType.TEXT and '"execution_success"' in message.data:
                    return texts

    texts = asyncio.run(asyncio.wait_for(listen(), 60))
    assert any("took request 5" in text for text in texts)
    waits = [m for text in texts if (m := re.fullmatch(r"in work, (\d+) s, about (\d+) s left, request 5", text))]
    assert len(waits) >= 2 and int(waits[-1][1]) > int(waits[0][1]) and int(waits[-1][2]) < int(waits[0][2])


def execute(pack_nodes, **changes):
    """The node's coroutine, with small defaults."""
    values = {name: field.default for name, field in FIELDS.items()}
    values |= {"prompt": "x", "face_image": torch.full((1, 64, 64, 3), 0.5), "webhook": "", "track_id": "", "base64": True}
    return pack_nodes[NODE].execute(**values | {"seed": 1, "profile": "test", "timeout": 60, **changes})


def test_a_node_that_blocks_comfyui_does_not_hold_it_up(pack_nodes, service):
    """On ComfyUI's event loop, which a sampler blocks for minutes, paid work could pass its time limit unread."""
    service.polls = 0

    async def beside_a_sampler():
        task = asyncio.create_task(execute(pack_nodes, base64=False))
        await asyncio.sleep(0)  # the node has begun
        begin = time.monotonic()
        while not service.downloaded and time.monotonic() < begin + 60:
            time.sleep(0.1)
        assert service.downloaded, "the work went on while the loop stood still"
        return await task

    image, response = asyncio.run(beside_a_sampler()).result
    assert image.shape == (1, 96, 64, 3) and image.dtype == torch.float32
    assert json.loads(response)["output"] == [service.link()]
    assert service.billed == 1 and service.bodies[0]["base64"] is False


@pytest.mark.newest
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"face_image": torch.zeros(2, 8, 8, 3)}, "face_image holds 2. Choose one with an Image From Batch"),
        ({"face_image": torch.zeros(1, 8, 8, 4)}, "^ModelsLab Face Generator: .*Split Image with Alpha"),
        ({"height": 768, "samples": 2}, "The samples field must be 1 at 512x768"),
        ({"prompt": "  "}, "The prompt field is required"),
        ({"request_id": "a/b"}, "request_id 'a/b' is none"),
        ({"profile": "nobody"}, "There is no profile 'nobody'"),
    ],
)
def test_bad_inputs_are_refused_before_anything_is_sent(pack_nodes, service, changes, says):
    with pytest.raises(FaceGenError, match=says):
        asyncio.run(execute(pack_nodes, **changes))
    assert service.connections == 0


@pytest.mark.newest
@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            {"submits": [error("No face detected")]},
            r"refuses the picture.*one sharp photo.*Connect such a photo to face_image; the Face Quality node checks it\.$",
        ),
        (
            {"submits": [Reply("<html>timeout</html>", 504)]},
            r"may have been billed.*if it has an id there.*To fetch them, set request_id to that id and queue again\.$",
        ),
        (
            {"fetches": [Reply(error("Request not found"), 404)]},
            r"Request 123 was taken.*without paying again, within 24 hours\. Set request_id to 123 and queue again\.$",
        ),
    ],
)
def test_an_error_of_the_service_ends_with_what_to_do_on_the_node(pack_nodes, service, script, says):
    vars(service).update(script)
    with pytest.raises(FaceGenError, match=rf"^ModelsLab Face Generator: .*{says}"):
        asyncio.run(execute(pack_nodes))


@pytest.mark.newest
def test_two_samples_of_two_sizes_are_one_batch(pack_nodes, service):
    service.files["/result/b"] = [Reply(png((32, 32)))]
    image, _ = asyncio.run(execute(pack_nodes, samples=2, webhook="https://example.com/hook", track_id="7")).result
    assert image.shape == (2, 96, 64, 3)
    assert (service.bodies[0]["webhook"], service.bodies[0]["track_id"]) == ("https://example.com/hook", "7")
