"""Requests through two fronts, PostgreSQL and a real Ray of several nodes, while replicas, a node and a front are killed and
the database is restarted."""

import os
import signal
import time

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-scale.txt")
pytest.importorskip("psycopg", reason="needs requirements-scale.txt")

from facegen.standalone.cluster import connection
from facegen.standalone.cluster.scale import Scale
from front_process import RayFront
from pack import ROOT
from sleeping_engine import PIDS, SECONDS, load
from storm import MANY, Storm

CLIENTS = 8
REPLICAS = Scale(gpus=0, cpus=0.5, least=4, most=4, max_queued=5000)


@pytest.fixture(scope="module")
def pids(tmp_path_factory):
    """A folder: each engine's process is a file of it."""
    return tmp_path_factory.mktemp("pids")


@pytest.fixture(scope="module")
def cluster(pids):
    """A head that makes nothing and two nodes, each a raylet of its own with two replicas."""
    from ray.cluster_utils import Cluster

    environment = {"PYTHONPATH": str(ROOT / "tests" / "support"), SECONDS: "0.1", PIDS: str(pids)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(2):
                made.add_node(num_cpus=1)
            connection.reach(made.address)
            connection.deployed(REPLICAS, True, load)
            yield made
        finally:
            connection.leave(made.address)
            made.shutdown()


@pytest.fixture
def ray_fronts(cluster, tmp_path, database):
    made = [
        RayFront(tmp_path / name, database, str(tmp_path / "results"), cluster.address, lease_seconds=5)
        for name in ("one", "two")
    ]
    try:
        yield [front.wait_until_ready(120) for front in made]
    finally:
        for front in made:
            if front.process.poll() is None:
                front.kill()


def test_every_request_ends_once(cluster, ray_fronts, postgres, pids):
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

    _, twice = Storm(ray_fronts, MANY, CLIENTS, waits=True).run([replica, database, node, front, replica])
    assert twice <= CLIENTS, "only where a front was killed in the middle of the call"
    states = dict(postgres.query(ray_fronts[0].jobs, "SELECT state, count(*) FROM jobs GROUP BY state"))
    assert set(states) == {"success"}, "nor is one left that broke off before its client knew the id"
    print(f"{MANY} requests took {time.monotonic() - began:.0f} s; webhooks that came twice: {twice}")
