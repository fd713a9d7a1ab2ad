"""Real Ray on this machine: two replicas on its processors behind the local API's Backend, and a batch by an actor pool."""

import asyncio
import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-scale.txt")

from batch_runs import QuickEngine, held, quick_likeness, run, write
from facegen.api.download import Guard
from facegen.api.local.backend import Busy, Phase, Work
from facegen.api.local.config import LocalConfig
from facegen.api.local.flavours import FLAVOURS
from facegen.contract import FaceGenRequest
from facegen.errors import FaceGenError
from facegen.models.style import style_files
from facegen.models.tiny_files import DRAWN_FACE, TINY
from facegen.standalone.batch.flavour_choice import FlavourChoice
from facegen.standalone.batch.outputs import Outputs
from facegen.standalone.batch.pieces import Pieces
from facegen.standalone.batch.run import Batch
from facegen.standalone.cluster import connection
from facegen.standalone.cluster.app import build
from facegen.standalone.cluster.backend import RayBackend
from facegen.standalone.cluster.batches import made_by_ray
from facegen.standalone.cluster.scale import Scale
from facegen.standalone.server.backend import EngineBackend
from facegen.standalone.server.engines import Engines
from facegen.standalone.server.metrics import Metrics
from pack import ROOT
from serve_process import ServeProcess
from sleeping_engine import SECONDS, STEPS, load, load_few_steps, load_quick

FACE = str(TINY / DRAWN_FACE)
TAKES = 1.5  # seconds of a sleeping engine's picture
ON_CPUS = Scale(gpus=0, cpus=0.5)


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine; what it starts finds the tests' engines."""
    os.environ |= {"PYTHONPATH": str(ROOT / "tests" / "support"), SECONDS: str(TAKES)}
    connection.reach(connection.LOCAL, 2)
    yield
    connection.leave(connection.LOCAL)
    del os.environ["PYTHONPATH"], os.environ[SECONDS]


@pytest.fixture(scope="module")
def handle(cluster):
    """Two replicas whose engines sleep."""
    return connection.deployed(replace(ON_CPUS, least=2, most=2, max_queued=50), True, load)


def work(seed=1, flavour="tiny", **changes):
    request = FaceGenRequest("a sailor", **{"face_image": FACE, "width": 64, "height": 64, "seed": seed, **changes})
    return Work(str(uuid.uuid4()), request, FLAVOURS[flavour])


async def states_of(backend, *works, until=lambda state: state.has_ended, seconds=120):
    deadline = time.monotonic() + seconds
    while True:
        states = list((await backend.state([one.id for one in works])).values())
        if all(until(state) for state in states):
            return states
        assert time.monotonic() < deadline, states
        await asyncio.sleep(0.01)


def with_backend(handle, test, engines=None, most=20):
    async def inside():
        backend = RayBackend(handle, engines or Engines(None), most)
        try:
            return await test(backend)
        finally:
            await backend.close()

    return asyncio.run(inside())


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)))


def test_two_at_a_time_with_progress(handle):
    async def test(backend):
        works = [work(seed) for seed in range(4)]
        began = time.monotonic()
        for one in works:
            await backend.start(one)
        running = lambda state: (state.phase is Phase.RUNNING and state.progress > 0.3) or state.has_ended  # noqa: E731
        await states_of(backend, *works[:1], until=running)
        states = await states_of(backend, *works)
        took = time.monotonic() - began
        pictures = [await backend.pictures(one.id) for one in works]
        return states, pictures, took

    states, pictures, took = with_backend(handle, test)
    assert [state.phase for state in states] == [Phase.DONE] * 4 and [len(one) for one in pictures] == [1] * 4
    assert len({one[0] for one in pictures}) == 4 and len({tuple(state.notes["likeness"]) for state in states}) == 2
    assert 2 * TAKES < took < 3.5 * TAKES, "one after the other it would be four times"


def test_a_replica_that_has_the_model_gets_its_requests(handle):
    """Of two flavours, again and again, one after the other: each is made by one replica."""

    class Named(Engines):
        def files(self, flavour, style):
            found = super().files(FLAVOURS["tiny"], style)
            return replace(found, checkpoint=Path(f"/models/{flavour.model_id or 'first'}"))

    async def test(backend):
        makers = {}
        for number in range(6):
            name = "first" if number % 2 else "second"
            one = work(number)
            one = replace(one, flavour=replace(one.flavour, model_id=name))
            await backend.start(one)
            (state,) = await states_of(backend, one)
            makers.setdefault(name, []).append(state.notes["likeness"][0])
        return makers

    makers = with_backend(handle, test, Named(None))
    assert all(len(set(pids)) == 1 for pids in makers.values()), makers


def test_cancel_reaches_a_replica_within_a_step(handle):
    async def test(backend):
        running, others = work(), [work(seed) for seed in range(5)]
        for one in (running, *others):
            await backend.start(one)
        await states_of(backend, running, until=lambda state: (state.progress or 0) >= 0.2)
        for one in (running, *others):
            await backend.cancel(one.id)
        states = await states_of(backend, running, *others, seconds=TAKES / STEPS * 3)
        for one in (running, *others):
            await backend.cancel(one.id)
        began, last = time.monotonic(), work()
        await backend.start(last)
        (state,) = await states_of(backend, last)
        return states, state, time.monotonic() - began, await backend.state([running.id])

    states, state, took, after = with_backend(handle, test)
    assert {one.message for one in states} == {"The request was cancelled."}
    assert state.phase is Phase.DONE and took < 1.5 * TAKES, "nothing of what was cancelled is in its way"
    assert next(iter(after.values())).message == "The request was lost. Send it again."


def test_more_than_may_wait_is_refused_before_it_is_taken(handle):
    async def test(backend):
        running = [work(seed) for seed in range(2)]
        for one in running:
            await backend.start(one)
        await states_of(backend, *running, until=lambda state: state.phase is Phase.RUNNING)
        for seed in range(3):
            await backend.check_room()
            await backend.start(work(seed))
        with pytest.raises(Busy, match="All machines are busy, and 3 requests wait already."):
            await backend.check_room()
        await states_of(backend, *running)
        await asyncio.sleep(TAKES / 2)
        await backend.check_room()

    with_backend(handle, test, most=3)


def test_a_replica_that_is_killed_in_the_middle_costs_time_and_nothing_else(handle):
    async def test(backend):
        calm = work(7)
        await backend.start(calm)
        (state,) = await states_of(backend, calm)
        wanted = (await backend.pictures(calm.id))[0]
        disturbed = [work(7), work(7)]
        for one in disturbed:
            await backend.start(one)
        await states_of(backend, *disturbed, until=lambda state: (state.progress or 0) >= 0.4)
        os.kill(state.notes["likeness"][0], signal.SIGKILL)
        states = await states_of(backend, *disturbed)
        return states, state, wanted, [await backend.pictures(one.id) for one in disturbed]

    states, before, wanted, pictures = with_backend(handle, test)
    assert [state.phase for state in states] == [Phase.DONE] * 2 and pictures == [[wanted]] * 2
    assert before.notes["likeness"][0] not in [state.notes["likeness"][0] for state in states]


def test_what_is_wrong_with_a_request_comes_back_in_words(handle, tmp_path):
    async def test(backend):
        (tmp_path / "photo.png").write_bytes(b"no picture")
        broken = work(face_image=str(tmp_path / "photo.png"))
        await backend.start(broken)
        return await states_of(backend, broken)

    (state,) = with_backend(handle, test)
    assert state.phase is Phase.FAILED and "can't be read as a photo" in state.message


def test_the_dashboard_asks_for_what_is_told(handle):
    """Each metric of the dashboard is one that this Ray, after some requests, or a front exports."""
    content = json.loads((ROOT / "docs" / "grafana.json").read_text())
    queries = [target["expr"] for panel in content["panels"] for target in panel["targets"]]
    wanted = {name for query in queries for name in re.findall(r"\b(?:ray_)?(?:facegen|serve)_[a-z_]+", query)} - {"facegen"}

    async def test(backend):
        one = work()
        await backend.start(one)
        await states_of(backend, one)

    with_backend(handle, test)
    front = Metrics()
    front.answers.begun()
    front.answers.answered("/", "success", 0.1)
    (node,) = connection.ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    def told():
        with urllib.request.urlopen(address) as answer:
            text = answer.read().decode() + front.text(lambda: {"running": 1}).decode()
        return {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}

    deadline = time.monotonic() + 60
    while (missing := wanted - told()) and time.monotonic() < deadline:
        time.sleep(2)
    assert len(wanted) >= 10 and missing == set()
    places = [tuple(panel["gridPos"].values()) for panel in content["panels"]]
    assert len(set(places)) == len(places) and len({panel["id"] for panel in content["panels"]}) == len(places)


def test_the_pictures_are_those_of_one_process(cluster):
    """The tiny model on a replica and here, with the same seed."""
    one = work(3, width=128, height=128, samples=2)

    async def made(backend):
        await backend.start(one)
        (state,) = await states_of(backend, one)
        return state, await backend.pictures(one.id)

    async def here():
        backend = EngineBackend(Engines(None, load_few_steps))
        try:
            return await made(backend)
        finally:
            await backend.close()

    wanted, expected = asyncio.run(here())
    state, pictures = with_backend(connection.deployed(ON_CPUS, True, load_few_steps), made)
    assert state.phase is Phase.DONE and state.notes == wanted.notes
    assert len(pictures) == 2 and all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(pictures, expected, strict=True))


def test_scaled_to_none_the_first_request_waits_for_a_replica(cluster):
    def replicas():
        (deployment,) = connection.serve.status().applications["facegen"].deployments.values()
        return sum(deployment.replica_states.values())

    handle = connection.deployed(replace(ON_CPUS, least=0, most=2, up_seconds=0.5, down_seconds=1), True, load)
    deadline = time.monotonic() + 120
    while replicas():
        assert time.monotonic() < deadline, "nothing is asked, and a replica is still there"
        time.sleep(0.5)

    async def test(backend):
        one = work(4)
        await backend.start(one)
        return await states_of(backend, one), await backend.pictures(one.id)

    (state,), pictures = with_backend(handle, test)
    assert state.phase is Phase.DONE and len(pictures) == 1 and replicas() >= 1


def test_a_batch_is_the_same_as_in_one_process(cluster, tmp_path, monkeypatch):
    connection.serve.shutdown()  # the processors of its replicas are needed
    (tmp_path / "people").mkdir()
    for number in range(3):
        Image.linear_gradient("L").convert("RGB").crop((0, 0, 256, 200 + number)).save(tmp_path / "people" / f"{number}.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    rows = [{"prompt": str(n), "face_image": "people", "width": 64, "height": 64, "samples": 1 + n % 2} for n in range(8)]
    file = write(tmp_path / "r.jsonl", *rows, "{", {"prompt": "x", "face_image": "torn.png"}, rows[0] | {"best_of": 3})
    with monkeypatch.context() as patch:
        quick_likeness(patch)
        run(file, tmp_path / "calm", QuickEngine())
    config = LocalConfig()
    pieces = lambda: Pieces(tmp_path, Guard(), list(style_files()), FlavourChoice(config, Engines(None)))  # noqa: E731

    def by_ray(stop, load, after_first=lambda: None):
        with Outputs(tmp_path / "out") as outputs:
            batch = Batch(file, pieces, outputs)
            batch.look()
            made = made_by_ray(batch, replace(ON_CPUS, least=2, most=2), config.flavours, tmp_path, (), load)
            for number, one in zip(range(stop), made, strict=False):
                batch.keep([one])
                if number == 0:
                    after_first()
        return batch

    (tmp_path / "pids").mkdir()
    killed = []

    def kill():
        """The engines that are at it: what they have not handed over is lost."""
        killed.extend(int(pid.name) for pid in (tmp_path / "pids").iterdir())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    assert by_ray(3, load_quick).there == 0
    last = by_ray(1000, partial(load_quick, pids=str(tmp_path / "pids")), kill)
    assert last.there in (2, 3), "what was made before it was stopped is there; the torn photo may be among the three"
    assert killed and len(list((tmp_path / "pids").iterdir())) > len(killed), "others went on"
    assert held(tmp_path / "out") == held(tmp_path / "calm")


def test_serve_with_ray_answers_as_without(tmp_path, monkeypatch):
    """As a user starts it: a Ray of its own, which ends with it, also where the user has another, or knows where one was."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    face = f"data:image/png;base64,{base64.b64encode(Path(FACE).read_bytes()).decode()}"
    body = {"prompt": "a sailor", "face_image": face, "width": 64, "height": 64, "num_inference_steps": 21, "seed": 3}
    with ServeProcess(tmp_path, "--ray", "local", "--replica-cpus", "0.5", hold_seconds=100) as server:
        server.wait_until_ready(300)
        answer = server.post("/api/v6/image_editing/face_gen", body)
        assert answer["status"] == "success" and answer["meta"]["seed"] == 3, answer
        with urllib.request.urlopen(answer["output"][0]) as picture:
            assert Image.open(io.BytesIO(picture.read())).size == (64, 64)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        ours = [line for line in server.log.read_text().splitlines() if line.startswith("{")]  # Ray's are no JSON
        assert "stopped" in json.loads(ours[-1])["message"]


def test_a_configuration_file_of_serve_deploy_can_name_the_application():
    """In a process that knows the pack by PYTHONPATH alone, as Ray's do. It needs what a front needs, and no engine."""
    code = (
        "import sys\n"
        "from facegen.standalone.cluster.app import build\n"
        "app = build({'gpus': 0.5, 'least': 0, 'most': 4})\n"
        "deployment = app._bound_deployment\n"
        "print(deployment.name, deployment.num_replicas, deployment._deployment_config.autoscaling_config.max_replicas)\n"
        "print(sorted({'diffusers', 'transformers', 'peft', 'insightface', 'onnxruntime'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(connection.IMPORT_PATH)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr
    built, engine = done.stdout.splitlines()
    assert (built.split()[0], built.split()[-1], engine) == ("Engine", "4", "[]")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"most": 0}, "can't be from 1 to 0"),
        ({"replicas": 3}, "args has replicas; known are"),
        ({"ongoing": 0}, "must be 1 or"),
    ],
)
def test_settings_that_cannot_be(arguments, says):
    with pytest.raises(FaceGenError, match=says):
        build(arguments)


def test_the_configuration_file_is_one_that_ray_takes():
    """By Ray's own schema; and its args are those of the application."""
    import yaml
    from ray.serve.schema import ServeDeploySchema

    content = yaml.safe_load((ROOT / "standalone" / "cluster" / "serve.yaml").read_text())
    (app,) = ServeDeploySchema.model_validate(content).applications
    assert app.import_path == "facegen.standalone.cluster.app:build" and app.route_prefix is None
    assert callable(build) and {field.name for field in fields(Scale)} >= set(app.args)
    build(app.args)


def test_an_address_of_another_kind():
    with pytest.raises(FaceGenError, match="ray://head:10001 is for Ray's client, .* This machine has to belong to Ray: run"):
        connection.reach("ray://head:10001")
