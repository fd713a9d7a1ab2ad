"""Fronts in processes of their own that share a database and a place for results."""

import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from host_server import free_port
from local_api_server import BODY
from pack import ROOT

LEASE = 2.0  # seconds; ten times as long as a busy machine may hold a process up
PROGRAM = Path(__file__).with_name("front_program.py")


class FrontProcess:
    """One front, which runs until it is stopped. `at_once` is how many pictures it makes at a time, `settings` are those of its
    local_api.json."""

    program = (PROGRAM,)

    def __init__(self, base, jobs, results, environ=None, at_once=4, **settings):
        base.mkdir(parents=True, exist_ok=True)
        self.base, self.jobs, self.port = base, jobs, free_port()
        self.url, self.log = f"http://127.0.0.1:{self.port}", base / "front.log"
        options = {"jobs": jobs, "results": results, "data": base, "port": self.port, **self.own_options(at_once)}
        self.configure(**settings)
        given = itertools.chain(*((f"--{name}", str(is_)) for name, is_ in options.items()))
        self._command = [sys.executable, *self.program, *given]
        self._environ = {**os.environ, **(environ or {})}
        self.start()

    def own_options(self, at_once):
        """Beside those of `serve`."""
        return {"log": self.base.parent / "drawn.log", "at-once": at_once}

    def start(self):
        self._out = self.log.open("a")
        self.process = subprocess.Popen(self._command, stdout=self._out, stderr=subprocess.STDOUT, env=self._environ)

    def configure(self, **settings):
        """From now on, but for what is read at the start."""
        file = self.base / "local_api.json"
        usual = {"enabled": True, "lease_seconds": LEASE, "max_queued": 5000, "allowed_hosts": ["127.0.0.1"]}
        file.write_text(json.dumps({**usual, **settings}))
        file.chmod(0o600)

    def kill(self):
        """As kill -9."""
        self.process.kill()
        self.process.wait()
        self._out.close()

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self._out.close()

    def wait_until_ready(self, seconds=60):
        deadline = time.monotonic() + seconds
        while self.ready()[0] != 200:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self

    def ready(self):
        return self.call("/readyz")

    def call(self, path, body=None, timeout=60, **headers):
        """(HTTP status, decoded answer); status 0 where nobody answers."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = path if "://" in path else self.url + path
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=timeout) as answer:
                status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            status, kind, content = error.code, error.headers["Content-Type"], error.read()
        except OSError:
            return 0, {}
        return status, json.loads(content) if "json" in (kind or "") else content

    def take(self, wait=0, **body):
        """(HTTP status, answer) of a request."""
        return self.call("/api/v6/image_editing/face_gen", {**BODY, **body}, Prefer=f"wait={wait}")

    def submit(self, wait=0, **body):
        """The answer, which is an error where it isn't taken."""
        return self.take(wait, **body)[1]

    def fetch(self, identifier, wait=0, **body):
        return self.call(f"/api/v6/image_editing/fetch/{identifier}", body, Prefer=f"wait={wait}")[1]

    def cancel(self, identifier):
        return self.call(f"/api/v6/image_editing/cancel/{identifier}", {})[1]


class RayFront(FrontProcess):
    """`serve --ray` itself, at an application that is there already."""

    program = (ROOT, "serve")

    def __init__(self, base, jobs, results, address, **settings):
        self.address = address
        super().__init__(base, jobs, results, **settings)

    def own_options(self, at_once):
        return {"ray": self.address, "max-waiting": 5000}
