"""`serve`'s front on a real aiohttp server in a thread, with a backend of the caller's in place of the engine."""

from facegen.standalone.server.app import Front
from facegen.standalone.server.metrics import Metrics
from local_api_server import ApiServer
from memory_backend import MemoryBackend


class ServeServer(ApiServer):
    """`front` is there while it runs."""

    def __init__(self, base, backend=None, **settings):
        super().__init__(base, backend or MemoryBackend(), **settings)

    def make_app(self):
        self.front = Front(self.make_api(), Metrics(), lambda: self.backend.why_away)
        return self.front.app()
