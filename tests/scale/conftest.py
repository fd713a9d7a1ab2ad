"""Several fronts as they run in earnest: processes, a real PostgreSQL, a server that speaks S3. By `dev.py test --scale`."""

import os
import shutil
import tempfile

import pytest

from pack import load_pack

load_pack()

# Ray ends a process that has lost a head for a minute, also the tests' own; it reads this once, as soon as it is imported.
os.environ |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "600"}


@pytest.fixture(scope="session", autouse=True)
def own_ray():
    """No Ray that this machine has already is found, and ours are noted where nobody else looks. Ray keeps its sockets in the
    folder, so its path has to be short."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        # Ray's own 15 lets replicas wait for whatever else is to be computed.
        patch.setenv("RAY_worker_niceness", "0")
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres():
    from postgres_server import PostgresServer

    with PostgresServer() as running:
        yield running


@pytest.fixture
def database(postgres):
    """The URL of an empty one."""
    return postgres.new_database()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    from s3_server import S3Server

    with S3Server(tmp_path_factory.mktemp("s3") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def fronts(tmp_path_factory, postgres):
    """Two fronts that share a database and a folder, for all tests of a file; each test finds them running."""
    from front_process import FrontProcess

    base, jobs = tmp_path_factory.mktemp("fronts"), postgres.new_database()
    made = [FrontProcess(base / name, jobs, str(base / "results")) for name in ("one", "two")]
    yield made
    for front in made:
        if front.process.poll() is None:
            front.kill()


@pytest.fixture
def pair(fronts):
    for front in fronts:
        if front.process.poll() is not None:
            front.start()
    return [front.wait_until_ready() for front in fronts]
