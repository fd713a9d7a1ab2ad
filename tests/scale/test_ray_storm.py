"""Requests through two fronts, PostgreSQL and a real Ray of several nodes with the tiny model, while replicas, a node and a
front are killed and the database is restarted; and Ray's head is killed."""

import base64
import contextlib
import os
import signal
import time
from functools import partial

import psutil
import pytest

pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-scale.txt")
pytest.importorskip("psycopg", reason="needs requirements-scale.txt")

from facegen.models.tiny_files import DRAWN_FACE, TINY
from facegen.standalone.cluster import connection
from facegen.standalone.cluster.scale import Scale
from front_process import FrontProcess, RayFront
from pack import ROOT
from sleeping_engine import PIDS, load_few_steps
from storm import MANY, Storm, ended
from waiting import until

CLIENTS = 8
FACE = {"face_image": f"data:image/png;base64,{base64.b64encode((TINY / DRAWN_FACE).read_bytes()).decode()}"}
GRACE = 15  # seconds after which a front without Ray's head ends; Ray's own are 60
REPLICAS = Scale(gpus=0, cpus=0.5, least=4, most=4, max_queued=5000)


@pytest.fixture(scope="module")
def pids(tmp_path_factory):
    """A folder: each engine's process is a file of it."""
    return tmp_path_factory.mktemp("pids")


@pytest.fixture(scope="module")
def cluster(pids):
    """A head that makes nothing and two nodes, each a raylet of its own with two replicas."""
    from ray.cluster_utils import Cluster

    environment = {"PYTHONPATH": str(ROOT / "tests" / "support"), PIDS: str(pids)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        address = made.address  # nobody can be asked for it when the head is dead
        try:
            for _ in range(2):
                made.add_node(num_cpus=1)
            connection.reach(address)
            connection.deployed(REPLICAS, True, partial(load_few_steps, at_most=1))
            yield made
        finally:
            connection.leave(address)
            raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in made.list_all_nodes()]
            started = [child for raylet in raylets for child in raylet.children(recursive=True)]
            made.shutdown()
            for process in started:  # without a head, Ray's own agents don't find out that all has ended
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.fixture
def started(tmp_path, database):
    """Starts a front of a kind, which ends with the test; all of them share a database and a folder."""
    made = []

    def start(kind, name, *arguments, **more):
        made.append(kind(tmp_path / name, database, str(tmp_path / "results"), *arguments, lease_seconds=5, **more))
        return made[-1]

    yield start
    for front in made:
        if front.process.poll() is None:
            front.kill()


def test_every_request_ends_once(cluster, started, postgres, pids):
    ray_fronts = [started(RayFront, name, cluster.address).wait_until_ready(120) for name in ("one", "two")]
    began = time.monotonic()

    def replica():
        victims = [int(file.name) for file in pids.iterdir()]
        os.kill(victims[0], signal.SIGKILL)
        (pids / str(victims[0])).unlink()

    def node():
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        cluster.add_node(num_cpus=1)
        for file in pids.iterdir():
            if not os.path.exists(f"/proc/{file.name}"):
                file.unlink()

    def front():
        ray_fronts[0].kill()
        time.sleep(1)
        ray_fronts[0].start()

    def database():
        postgres.stop()
        time.sleep(1)
        postgres.start()

    _, twice = Storm(ray_fronts, MANY, CLIENTS, waits=True, **FACE).run([replica, database, node, front, replica])
    assert twice <= CLIENTS, "only where a front was killed in the middle of the call"
    states = dict(postgres.query(ray_fronts[0].jobs, "SELECT state, count(*) FROM jobs GROUP BY state"))
    assert set(states) == {"success"}, "nor is one left that broke off before its client knew the id"
    print(f"{MANY} requests took {time.monotonic() - began:.0f} s; webhooks that came twice: {twice}")


def test_without_its_head_ray_goes_on_for_a_while(cluster, started):
    """Then it ends the front. What was in work then is made by a front that has another Ray, or needs none."""
    environ = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(GRACE)}
    front = started(RayFront, "one", cluster.address, environ=environ)
    assert front.wait_until_ready(120).submit(wait=60, **FACE)["status"] == "success"
    connection.leave(cluster.address)  # this process would end, too
    cluster.head_node.kill_gcs_server()
    assert front.submit(wait=GRACE, **FACE)["status"] == "success" and front.process.poll() is None
    taken = []

    def ask():
        status, answer = front.take(prompt="a sailor", **FACE)
        taken.extend([answer["id"]] if status == 200 else [])
        time.sleep(0.3)
        return front.process.poll() is not None

    until(ask, 10 * GRACE)
    assert front.process.returncode == 1 and "Failed to connect to GCS" in front.log.read_text()
    other = started(FrontProcess, "two").wait_until_ready()
    assert taken and {ended([other], identifier)["status"] for identifier in taken} == {"success"}
    assert str(other.process.pid) in (other.base.parent / "drawn.log").read_text(), "something was in work"
