"""A ComfyUI server in a process of its own, and the little HTTP that tests need."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

COMFYUI = os.environ.get("COMFYUI_PATH", "")
# Starts a fifth faster, for where several are started: on the CPU, without ComfyUI's nodes for services.
BESIDE = ("--cpu", "--disable-api-nodes")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class ComfyServer:
    def __init__(self, base: Path, *flags: str):
        """`flags` say where it computes: on the CPU unless they do."""
        self.base, self.port, self.flags = base, free_port(), flags or ("--cpu",)
        self.log = base / f"server-{self.port}.log"

    def __enter__(self):
        command = [
            sys.executable,
            "main.py",
            *self.flags,
            "--listen",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--disable-auto-launch",
            "--base-directory",
            str(self.base),
            "--database-url",
            "sqlite:///:memory:",
        ]
        self._out = self.log.open("w")
        self.process = subprocess.Popen(command, cwd=COMFYUI, stdout=self._out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended while starting:\n{self.tail()}")
            try:
                self.get("/system_stats")
                return self
            except OSError:
                time.sleep(0.5)
        self.__exit__()
        raise RuntimeError(f"ComfyUI did not answer in time:\n{self.tail()}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._out.close()

    def tail(self, lines=60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def request(self, path, data=None, timeout=60):
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.code} {error.read().decode(errors='replace')}") from None

    def get(self, path):
        return json.loads(self.request(path))

    def queue(self, graph) -> str:
        return json.loads(self.request("/prompt", {"prompt": graph}))["prompt_id"]

    def wait(self, prompt_id, timeout=300) -> dict:
        """The history entry of a finished prompt."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry and entry["status"]["completed"] in (True, False) and entry["status"]["status_str"]:
                return entry
            time.sleep(0.2)
        raise RuntimeError(f"{prompt_id} did not finish in time:\n{self.tail()}")

    def run(self, graph, timeout=300) -> dict:
        return self.wait(self.queue(graph), timeout)

    def messages(self, entry) -> dict:
        """The entry's status messages by name."""
        return dict(entry["status"]["messages"])
