"""How many requests a second go through fronts that share a database, until the fronts are the limit.

    <python with requirements-scale.txt and the tests' packages> tools/benchmarks/fronts_throughput.py [--requests 600]

The engine sleeps (a fifth of a second a picture, as many at once as there are: a thousand replicas' traffic and none of their
work), so that all but it is measured: the front in its process, a real PostgreSQL, a folder for results, and callers here, who
hold each submit until its picture is there. One front on SQLite, one on PostgreSQL, two on PostgreSQL, in one run. What one
takes of a processor says more than requests a second where other programs are busy, too. It is read from Linux's /proc.

With --ramp, one front on PostgreSQL gets the traffic of more and more replicas instead, up to a thousand, whose pictures take
two seconds: the rate grows with them until the front has no more of a processor. As many callers as replicas begin one after
the other within those two seconds. What is refused with 503 then is asked again after `retry_after`, and counted.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
sys.path[:0] = [str(SUPPORT), *(str(SUPPORT / part) for part in ("api", "comfyui", "scale"))]

from pack import load_pack  # noqa: E402

load_pack()

from front_process import FrontProcess  # noqa: E402
from local_api_server import BODY  # noqa: E402
from postgres_server import PostgresServer  # noqa: E402

AT_ONCE = 1000
RAMP, RAMP_SECONDS = (10, 30, 100, 300, 1000), 2  # replicas, and what a picture takes
SETTLED = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
SIZE = "SELECT pg_total_relation_size('jobs')"


class Driven(NamedTuple):
    """rate: requests a second, as if all had begun at once. seconds: that one took, the middle of all. refused: how often one
    was told to come again."""

    rate: float
    seconds: float
    refused: int


async def drive(fronts, requests, callers, prompt=BODY["prompt"], within=0.0):
    """So many requests by so many callers, who begin within some seconds. One is Driven when its picture is there."""
    import aiohttp

    body, left, took, refused = json.dumps({**BODY, "prompt": prompt}).encode(), iter(range(requests)), [], 0
    headers = {"Content-Type": "application/json", "Prefer": "wait=60"}

    async def call(session, caller):
        nonlocal refused
        await asyncio.sleep(within * caller / callers)
        for number in left:
            began, told = time.monotonic(), {}
            url = f"{fronts[number % len(fronts)].url}/api/v6/image_editing/face_gen"
            while told.get("status") != "success":
                is_taken = "fetch_result" in told  # it was held as long as a call may be
                async with session.post(told["fetch_result"] if is_taken else url, data=body, headers=headers) as answer:
                    said = await answer.json()
                if answer.status == 503:
                    refused += 1
                    await asyncio.sleep(said["retry_after"])
                    continue
                assert said["status"] in ("success", "processing"), said
                told = said
            took.append(time.monotonic() - began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.monotonic()
        await asyncio.gather(*(call(session, caller) for caller in range(callers)))
        return Driven(requests / (time.monotonic() - began - within), sorted(took)[len(took) // 2], refused)


def processor(*roots):
    """Seconds that these processes and their children have computed."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended
            continue
        found[int(file.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    return sum(ticks for number, (parent, ticks) in found.items() if {number, parent} & set(roots)) / os.sysconf("SC_CLK_TCK")


def measure(name, fronts, postgres, given):
    ready = [front.wait_until_ready() for front in fronts]
    asyncio.run(drive(ready, 20, 4))
    processes = [front.process.pid for front in fronts], [postgres.process.pid]
    before = [processor(*each) for each in processes]
    driven = asyncio.run(drive(ready, given.requests, given.callers))
    costs = [(processor(*each) - at) * 1000 / given.requests for each, at in zip(processes, before, strict=True)]
    print(
        f"{name:24} {driven.rate:6.1f} requests/s, {driven.seconds * 1000:5.0f} ms each; "
        f"{costs[0]:.1f} ms of a processor in fronts, {costs[1]:.1f} ms in PostgreSQL"
    )


def ramp(front, postgres):
    """Some pictures of each replica, for more and more of them."""
    front.wait_until_ready()
    asyncio.run(drive([front], 20, 4))
    for replicas in RAMP:
        requests = 4 * replicas if replicas <= 100 else 2 * replicas
        before = [processor(each.process.pid) for each in (front, postgres)]
        driven = asyncio.run(drive([front], requests, replicas, f"sleep {RAMP_SECONDS}", RAMP_SECONDS))
        costs = [(processor(each.process.pid) - at) / requests for each, at in zip((front, postgres), before, strict=True)]
        print(
            f"{replicas:5} replicas: {driven.rate:6.1f} requests/s of {replicas / RAMP_SECONDS:.0f}, "
            f"{driven.seconds:.1f} s each; {costs[0] * 1000:.1f} ms of a processor in the front, "
            f"{costs[1] * 1000:.1f} ms in PostgreSQL; {driven.refused} times refused",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--ramp", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as postgres:
        base, database = Path(folder), postgres.new_database()
        made = []

        def front(name, jobs, results=base / "results"):
            made.append(FrontProcess(base / name, jobs, str(results), at_once=AT_ONCE, lease_seconds=15))
            return made[-1]

        try:
            if given.ramp:
                ramp(front("one", database), postgres)
                return
            measure("SQLite", [front("alone", "", base / "own")], postgres, given)
            made[0].kill()
            one = front("one", database)
            measure("PostgreSQL", [one], postgres, given)
            time.sleep(1.5)  # until the database has counted
            ((before,),), ((empty,),) = postgres.query(database, SETTLED), postgres.query(database, SIZE)
            measure("PostgreSQL, once more", [one], postgres, given)
            time.sleep(1.5)
            ((after,),), ((full,),) = postgres.query(database, SETTLED), postgres.query(database, SIZE)
            count = given.requests + 20
            print(f"{(after - before) / count:.1f} transactions and {(full - empty) / count:.0f} bytes of rows a request")
            measure("PostgreSQL, two fronts", [one, front("two", database)], postgres, given)
        finally:
            for each in made:
                if each.process.poll() is None:
                    each.kill()


if __name__ == "__main__":
    main()
