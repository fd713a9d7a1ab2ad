"""A server that speaks S3, in a process of its own."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

from host_server import free_port


class S3Server:
    """Runs while its `with` block does. `environ` is what a process needs to reach it."""

    def __init__(self, log):
        self.port, self._log_path = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        keys = {"AWS_ACCESS_KEY_ID": "facegen", "AWS_SECRET_ACCESS_KEY": "not a secret", "AWS_DEFAULT_REGION": "us-east-1"}
        self.environ = {**keys, "AWS_ENDPOINT_URL": self.url}

    def __enter__(self):
        self._log = self._log_path.open("a")
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self._log.close()

    def start(self):
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        env = {**os.environ, **self.environ}
        self.process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, env=env)
        deadline = time.monotonic() + 60
        while True:
            try:
                return urllib.request.urlopen(f"{self.url}/moto-api/", timeout=2).status
            except (urllib.error.URLError, ConnectionError):
                assert self.process.poll() is None and time.monotonic() < deadline, self._log_path.read_text()
                time.sleep(0.1)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def new_bucket(self, name=None):
        """Its name."""
        name = name or f"test-{uuid.uuid4().hex[:12]}"
        # No signature is checked.
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT", headers={"Authorization": _AUTHORIZATION})
        urllib.request.urlopen(request, timeout=20)
        return name

    def names(self, bucket):
        """The keys of all objects."""
        import s3fs

        files = s3fs.S3FileSystem(
            key="facegen", secret="not a secret", endpoint_url=self.url, use_listings_cache=False, skip_instance_cache=True
        )
        return sorted(name.partition("/")[2] for name in files.find(bucket))


_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=facegen/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
