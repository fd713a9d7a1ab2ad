"""`serve`'s front on a real aiohttp server in a thread, with a backend of the caller's in place of the engine."""

import argparse

from facegen.standalone.cli.serve import add_command, place_of
from facegen.standalone.server.app import Front
from facegen.standalone.server.metrics import Metrics
from local_api_server import ApiServer
from memory_backend import MemoryBackend


class ServeServer(ApiServer):
    """`front` is there while it runs."""

    def __init__(self, base, backend=None, **settings):
        super().__init__(base, backend or MemoryBackend(), **settings)
        self.photos = self.config.parent / "photos"

    def make_place(self):
        """That of the command with these options."""
        parser = argparse.ArgumentParser()
        add_command(parser.add_subparsers())
        given = ["--data", str(self.config.parent), "--listen", ",".join(self.listen), "--port", str(self.port)]
        return place_of(parser.parse_args(["serve", *given]))

    def make_app(self):
        self.front = Front(self.make_api(), Metrics(), lambda: self.backend.why_away)
        return self.front.app()
