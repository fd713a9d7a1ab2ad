"""What the way through Ray costs a request, and how many more pictures two replicas make than one.

    <python with requirements-scale.txt and the tests' packages> tools/benchmarks/ray_scaling.py [--requests 40] [--seconds 1]

The engine sleeps, so that everything but it is measured, and so that two replicas don't take the processor from each other.
First single requests, one after the other, with an engine that takes no time: through the backend of one process and through
Ray, in turns; then as many at once as two replicas have work for, with one and with two of them. All in one run.
"""

import argparse
import asyncio
import logging
import os
import statistics
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
sys.path[:0] = [str(ROOT / "tests" / "support")]

from pack import load_pack  # noqa: E402

load_pack()

import sleeping_engine  # noqa: E402
from facegen.api.local.backend import Phase, Work  # noqa: E402
from facegen.api.local.flavours import FLAVOURS  # noqa: E402
from facegen.contract import FaceGenRequest  # noqa: E402
from facegen.models.tiny_files import DRAWN_FACE, TINY  # noqa: E402
from facegen.standalone.cluster import connection  # noqa: E402
from facegen.standalone.cluster.backend import RayBackend  # noqa: E402
from facegen.standalone.cluster.scale import Scale  # noqa: E402
from facegen.standalone.server.backend import EngineBackend  # noqa: E402
from facegen.standalone.server.engines import Engines  # noqa: E402

WARM = 3


def instant(files):
    engine = sleeping_engine.load(files)
    engine.seconds = 0.0
    return engine


def work(seed):
    request = FaceGenRequest("a sailor", str(TINY / DRAWN_FACE), seed=seed, width=256, height=256)
    return Work(str(uuid.uuid4()), request, FLAVOURS["tiny"])


async def made(backend, one, look=0.001):
    """Seconds from the start of a work until its pictures are here."""
    began = time.perf_counter()
    await backend.start(one)
    while not (state := (await backend.state([one.id]))[one.id]).has_ended:
        await asyncio.sleep(look)
    assert state.phase is Phase.DONE, state
    assert len(await backend.pictures(one.id)) == 1
    await backend.cancel(one.id)
    return time.perf_counter() - began


async def overhead(handle, requests):
    """Milliseconds of a request: (one process, Ray), median and 95th percentile."""
    backends = EngineBackend(Engines(None, instant)), RayBackend(handle, Engines(None), 1000)
    took = [[], []]
    for seed in range(requests + WARM):
        for backend, times in zip(backends, took, strict=True):
            times.append(1000 * await made(backend, work(seed)))
    for backend in backends:
        await backend.close()
    return [(statistics.median(times[WARM:]), sorted(times[WARM:])[int(0.95 * requests)]) for times in took]


async def pictures_a_second(handle, requests):
    """And the milliseconds that this process, a front's part, computes for each."""
    backend = RayBackend(handle, Engines(None), 10_000)
    for seed in range(WARM):
        await made(backend, work(seed))
    began, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(made(backend, work(seed), 0.25) for seed in range(requests)))
    rate, busy = requests / (time.perf_counter() - began), (time.process_time() - busy) / requests
    await backend.close()
    return rate, 1000 * busy


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a picture takes in the second part")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    os.environ |= {
        "PYTHONPATH": os.pathsep.join((str(ROOT / "tests" / "support"), str(ROOT / "tools" / "benchmarks"))),
        sleeping_engine.SECONDS: str(options.seconds),
    }
    replicas = Scale(gpus=0, cpus=0.5, max_queued=10_000)
    try:
        connection.reach(connection.LOCAL, 2)
        handle = connection.deployed(replicas, True, instant)
        (here, here_95), (ray, ray_95) = asyncio.run(overhead(handle, options.requests))
        print(f"one process: {here:.1f} ms a request (95 %: {here_95:.1f}); Ray: {ray:.1f} ms (95 %: {ray_95:.1f})", flush=True)
        connection.serve.shutdown()
        rates = [asyncio.run(pictures_a_second(several(number), options.requests)) for number in (1, 2)]
        (one, _), (two, busy) = rates
        print(f"pictures a second of {options.seconds:g} s: 1 replica {one:.3f}, 2 replicas {two:.3f}, ratio {two / one:.3f}")
        print(f"the front's part computes {busy:.1f} ms for each", flush=True)
    finally:
        connection.leave(connection.LOCAL)


def several(number):
    scale = Scale(gpus=0, cpus=0.5, least=number, most=number, max_queued=10_000)
    return connection.deployed(scale, True, sleeping_engine.load)


if __name__ == "__main__":
    main()
