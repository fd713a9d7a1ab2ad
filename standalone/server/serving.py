"""The server's life: listen, load the models, answer, and stop without losing what is being made."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from ...api.local.backend import Backend
from ...api.local.flavours import Flavour
from ...api.local.place import Place
from ...api.local.routes.local_api import LocalApi
from ...errors import FaceGenError
from ...models.style import style_files
from .app import Front
from .metrics import Metrics

LOOK = 0.1  # seconds between two looks at what is still in work


class Loading(Backend, Protocol):
    """A backend that may be told which models to have at the beginning, and tells whether it can make anything."""

    @property
    def why_away(self) -> str:
        """Why nothing can be made just now; "" while it can."""
        ...

    async def load(self, flavour: Flavour) -> None:
        """Load a flavour's models, where that is its business. Raises FaceGenError."""
        ...


@dataclass
class Server:
    """`first` is the flavour whose models are loaded at once; `drain` how many seconds a stop waits for what is in work."""

    place: Place
    backend: Loading
    metrics: Metrics
    first: Flavour
    drain: float

    def __post_init__(self) -> None:
        self.api = LocalApi(self.place, self.backend, styles=style_files)
        self.front = Front(self.api, self.metrics, lambda: self.backend.why_away)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal. Raises FaceGenError if the address can't be had or the models can't be loaded."""
        with self._signals():
            runner = web.AppRunner(self.front.app(), shutdown_timeout=1.0, access_log=None)
            await runner.setup()
            try:
                for address in self.place.listen:
                    await self._listen(runner, address)
                logging.info("FaceGen: serving at %s", self.place.url)
                await self._load()
                await self._stop.wait()
                await self._drain()
            finally:
                await runner.cleanup()
        logging.info("FaceGen: stopped")

    async def _listen(self, runner: web.AppRunner, address: str) -> None:
        try:
            await web.TCPSite(runner, address, self.place.port).start()
        except (OSError, OverflowError) as error:
            why = str(getattr(error, "strerror", None) or error).rstrip(".")
            raise FaceGenError(f"{address} port {self.place.port} can't be used: {why}. Give another --port.") from error

    async def _load(self) -> None:
        """Load the models, unless a signal comes first. Requests wait for them meanwhile."""
        loading = asyncio.ensure_future(self.backend.load(self.first))
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not loading.done():
            loading.cancel()
            return
        try:
            loading.result()
        except OSError as error:
            raise FaceGenError(f"The models can't be read: {error}") from error
        self.front.is_ready = True
        logging.info("FaceGen: ready")

    async def _drain(self) -> None:
        """Take no more, and wait for what is in work as long as that may take; say what is interrupted."""
        self.front.is_stopping = True
        with contextlib.suppress(FaceGenError):
            logging.info("FaceGen: stopping; requests in work: %d", len(self.api.in_work()))
            deadline = asyncio.get_running_loop().time() + self.drain
            while self.api.in_work() and asyncio.get_running_loop().time() < deadline and not self._hurry.is_set():
                await asyncio.sleep(LOOK)
            if left := self.api.in_work():
                logging.warning("FaceGen: interrupted: the requests with id %s", ", ".join(map(str, left)))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal begins the stop; a second one doesn't wait for what is in work."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            (self._hurry if self._stop.is_set() else self._stop).set()

        known: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
        try:
            for number in known:
                loop.add_signal_handler(number, heard)
        except (NotImplementedError, RuntimeError):  # Windows, and loops of other threads
            known = ()
        try:
            yield
        finally:
            for number in known:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """As a signal does; to be called in the server's loop."""
        self._stop.set()
