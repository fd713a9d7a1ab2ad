"""`serve` in a process of its own, as a user starts it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

from host_server import free_port
from pack import LOAD, ROOT
from sleeping_engine import SECONDS

# The same command with an engine of sleeping_engine; the first argument is how many steps it takes, 0 for one that sleeps.
OTHER_ENGINE = f"""{LOAD}
import sys
sys.path.append({str(ROOT / "tests" / "support")!r})
from facegen.standalone.cli import main, serve
from sleeping_engine import load, load_few_steps
steps = int(sys.argv.pop(1))
serve.load_engine = lambda files, checks: load_few_steps(files, steps) if steps else load(files)
sys.exit(main.main(sys.argv[1:]))
"""


class ServeProcess:
    """Runs while its `with` block does, with its data in `base`; `settings` are those of local_api.json.

    It takes at most `steps`, where a request asks for 21 or more; with `asleep`, it loads nothing, and what it makes in so many
    seconds is noise.
    """

    def __init__(self, base, *options, steps=None, asleep=None, **settings):
        self.base, self.options, self.port = base, options, free_port()
        self.program, self.environ = [str(ROOT)], {**os.environ, SECONDS: str(asleep)}
        if steps or asleep:
            self.program = ["-c", OTHER_ENGINE, str(steps or 0)]
        self.url, self.log = f"http://127.0.0.1:{self.port}", base / f"serve-{self.port}.log"
        if settings:
            file = base / "local_api.json"
            file.write_text(json.dumps(settings))
            file.chmod(0o600)

    def __enter__(self):
        command = [sys.executable, *self.program, "serve", "--port", str(self.port), "--data", str(self.base), *self.options]
        self._out = self.log.open("w")
        self.process = subprocess.Popen(command, stdout=self._out, stderr=subprocess.STDOUT, env=self.environ)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._out.close()

    def wait_until_ready(self, seconds=120):
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz") as answer:
                    return answer.status
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise RuntimeError(f"serve isn't ready:\n{self.log.read_text()}")

    def lines(self):
        """All that it wrote so far, which has to be JSON, one object a line."""
        return [json.loads(line) for line in self.log.read_text().rpartition("\n")[0].splitlines()]

    def post(self, path, body, **headers):
        headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())
