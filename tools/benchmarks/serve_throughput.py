"""How fast the front of `serve` answers, against a bare aiohttp handler in the same run; and what a held call costs.

    <python with the tests' packages> tools/benchmarks/serve_throughput.py [--seconds 4] [--rounds 5] [--held 2000]

The servers run in processes of their own, with a backend that makes pictures at once; the callers are here, on kept-open
connections with blocking sockets. Rounds of the two take turns, so that a busy machine slows both alike; each ratio is the
median over the rounds. The last part makes pictures with the tiny model: by the engine alone, and through the server.
"""

import argparse
import asyncio
import base64
import json
import logging
import multiprocessing
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
sys.path[:0] = [str(ROOT / "tests" / "support"), *(str(ROOT / "tests" / "support" / part) for part in ("api", "comfyui"))]

from pack import load_pack  # noqa: E402

ANSWER = {"status": "success", "generationTime": 1.5, "id": 1, "output": ["x" * 90], "proxy_links": ["x" * 90], "meta": {}}
CALLERS = 8


def serve_bare(port, ready, stop, _folder):
    """aiohttp alone: a handler that reads a body as JSON and answers a dictionary."""
    from aiohttp import web

    async def handle(request):
        await request.json()
        return web.json_response(ANSWER)

    app = web.Application()
    app.router.add_post("/fetch", handle)
    asyncio.run(run_app(app, port, ready, stop))


def serve_ours(port, ready, stop, folder):
    """The front of `serve`, with an instant engine. Its log goes to /dev/null, line by line, as to any other file."""
    load_pack()
    from facegen.standalone.server import logs
    from serve_server import ServeServer

    sys.stderr = open("/dev/null", "w", buffering=1)  # noqa: SIM115
    logs.log_as_json(logging.INFO)
    server = ServeServer(folder)
    server.port = port
    server.configure(enabled=True, hold_seconds=600, poll_seconds=600, max_queued=10_000)
    (gate := folder / "gate").touch()

    async def watch():
        """The gate of the backend is open while the file is there."""
        while True:
            (server.backend.gate.set if gate.exists() else server.backend.gate.clear)()
            await asyncio.sleep(0.05)

    asyncio.run(run_app(server.make_app(), port, ready, stop, watch))


async def run_app(app, port, ready, stop, beside=None):
    from aiohttp import web

    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    task = asyncio.create_task(beside()) if beside else None
    ready.set()
    while not stop.is_set():
        await asyncio.sleep(0.1)
    if task:
        task.cancel()
    await runner.cleanup()


class Process:
    """A server in a process of its own."""

    def __init__(self, target, folder):
        from host_server import free_port

        self.port, self.folder = free_port(), folder
        context = multiprocessing.get_context("spawn")
        self._ready, self._stop = context.Event(), context.Event()
        self._process = context.Process(target=target, args=(self.port, self._ready, self._stop, folder), daemon=True)

    def __enter__(self):
        self._process.start()
        assert self._ready.wait(120)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._process.join(20)
        self._process.kill()

    def cpu_seconds(self):
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def resident_bytes(self):
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


def written(path, body, headers=""):
    """A request as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return f"{head}{headers}\r\n".encode() + content


def answer_of(file):
    """(status line, body) of the next answer on a connection's file."""
    status, length = file.readline(), 0
    while line := file.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, file.read(length)


def call_for(port, request, seconds):
    """How many answers come in that time, on CALLERS connections."""
    counts, end = [0] * CALLERS, time.monotonic() + seconds

    def call(number):
        with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as file:
            while time.monotonic() < end:
                connection.sendall(request)
                status, body = answer_of(file)
                assert b" 200 " in status and b'"success"' in body, (status, body)
                counts[number] += 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def once(port, request):
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as file:
        connection.sendall(request)
        return json.loads(answer_of(file)[1])


def face():
    from facegen.models.tiny_files import DRAWN_FACE, TINY

    return f"data:image/png;base64,{base64.b64encode((TINY / DRAWN_FACE).read_bytes()).decode()}"


def compare_fetches(bare, ours, seconds, rounds):
    """A fetch of a request that is done, as clients poll for it."""
    submit = written("/api/v6/image_editing/face_gen", {"prompt": "a", "face_image": face(), "width": 64, "height": 64})
    done = once(ours.port, submit)
    assert done["status"] == "success", done
    fetch = written(f"/api/v6/image_editing/fetch/{done['id']}", {"key": "k"})
    results = []
    for _ in range(rounds):
        measured = []
        for server, request in ((bare, written("/fetch", {"key": "k"})), (ours, fetch)):
            before = server.cpu_seconds()
            count = call_for(server.port, request, seconds)
            measured.append((count / seconds, (server.cpu_seconds() - before) / count))
        results.append(measured)
    rates = [statistics.median(round_[n][0] for round_ in results) for n in range(2)]
    costs = [statistics.median(round_[n][1] for round_ in results) for n in range(2)]
    by_rate = statistics.median(ours_[0] / bare_[0] for bare_, ours_ in results)
    by_cost = statistics.median(bare_[1] / ours_[1] for bare_, ours_ in results)
    print(f"bare aiohttp handler: {rates[0]:.0f} requests/s, {costs[0] * 1e6:.0f} us of the server's processor each")
    print(f"fetch of a finished job: {rates[1]:.0f} requests/s, {costs[1] * 1e6:.0f} us each")
    print(f"ratio: {by_rate:.2f} of the requests a second, {by_cost:.2f} by processor time")


def time_submits(ours, count=30):
    """From the submit to the first byte of its answer, with an instant engine: photo, job, pictures and all."""
    body = {"prompt": "a", "face_image": face(), "width": 64, "height": 64}
    request, times = written("/api/v6/image_editing/face_gen", body, "Prefer: wait=0\r\n"), []
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", ours.port)) as connection:
            began = time.perf_counter()
            connection.sendall(request)
            assert connection.recv(1)
            times.append(time.perf_counter() - began)
    print(f"submit to first byte, not held: median {statistics.median(times) * 1e3:.1f} ms, worst {max(times) * 1e3:.1f} ms")


def hold_many(ours, many):
    """So many fetches of one request held open at once; then they are all answered."""
    (ours.folder / "gate").unlink()
    time.sleep(0.3)
    submit = written("/api/v6/image_editing/face_gen", {"prompt": "a", "face_image": face()}, "Prefer: wait=0\r\n")
    identifier = once(ours.port, submit)["id"]
    fetch = written(f"/api/v6/image_editing/fetch/{identifier}", {"key": "k"})
    before, held = ours.resident_bytes(), []
    for _ in range(many):
        held.append(socket.create_connection(("127.0.0.1", ours.port)))
        held[-1].sendall(fetch)
    time.sleep(2)
    each = (ours.resident_bytes() - before) / many
    quick = time.perf_counter()
    other = written(f"/api/v6/image_editing/fetch/{identifier}", {"key": "k"}, "Prefer: wait=0\r\n")
    assert once(ours.port, other)["status"] == "processing"
    quick = time.perf_counter() - quick
    began = time.perf_counter()
    (ours.folder / "gate").touch()
    for connection in held:
        with connection, connection.makefile("rb") as file:
            assert b'"success"' in answer_of(file)[1]
    print(f"{many} fetches held open: {each / 1024:.1f} kB each; another call meanwhile: {quick * 1e3:.1f} ms; ", end="")
    print(f"all answered {time.perf_counter() - began:.2f} s after the picture was made")


def compare_pictures(count):
    """Pictures a minute of the engine alone and through the server, in turns, of the tiny model."""
    from facegen.api.local.flavours import FLAVOURS, made_guidance
    from facegen.contract import FaceGenRequest
    from facegen.models.tiny_files import DRAWN_FACE, TINY
    from facegen.standalone.engine import Engine
    from facegen.standalone.model_files import find_model_files
    from facegen.standalone.photos import read_photo
    from facegen.standalone.server.backend import EngineBackend
    from facegen.standalone.server.engines import Engines
    from serve_server import ServeServer

    engine = Engine(find_model_files(TINY), checks=True)
    request = FaceGenRequest("a person, blue background", str(TINY / DRAWN_FACE), width=128, height=128, seed=1)
    asked = FaceGenRequest(**{**request.as_dict(), "guidance_scale": made_guidance(FLAVOURS["tiny"], request)})
    body = {**request.as_dict(), "face_image": face()}

    def alone():
        embeds, _ = engine.embed(read_photo(TINY / DRAWN_FACE))
        engine.generate(asked, embeds)

    with tempfile.TemporaryDirectory() as folder:
        server = ServeServer(Path(folder), EngineBackend(Engines(None, lambda files: engine)), enabled=True, hold_seconds=60)
        with server:
            alone()
            server.submit(body)
            times = {"alone": [], "through": []}
            for _ in range(count):
                for name, work in (("alone", alone), ("through", lambda: server.submit(body))):
                    began = time.perf_counter()
                    work()
                    times[name].append(time.perf_counter() - began)
    rates = {name: 60 / statistics.median(took) for name, took in times.items()}
    ratio = statistics.median(a / b for a, b in zip(times["alone"], times["through"], strict=True))
    print(f"engine alone: {rates['alone']:.1f} pictures/min; through the server: {rates['through']:.1f}; ratio {ratio:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--held", type=int, default=2000, help="fetches that are held open at once")
    parser.add_argument("--pictures", type=int, default=8, help="that the tiny model makes each way")
    options = parser.parse_args()
    load_pack()
    logging.disable()
    warnings.simplefilter("ignore")
    wanted = 2 * options.held + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        Process(serve_bare, Path(one)) as bare,
        Process(serve_ours, Path(other)) as ours,
    ):
        compare_fetches(bare, ours, options.seconds, options.rounds)
        time_submits(ours)
        hold_many(ours, options.held)
    if options.pictures:
        compare_pictures(options.pictures)


if __name__ == "__main__":
    main()
