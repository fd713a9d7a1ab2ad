"""What Prometheus is told: requests by route and outcome, the queue, seconds a step and a picture, GPU memory."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ..memory import devices
from .answers import Answers

STEP_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
BATCH_PICTURES = (1, 2, 4, 8, 16, 32)
PICTURE_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)


class Metrics:
    """An Observer, see queue/making.py; `answers` counts the front's."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.answers = Answers()
        self._registry.register(self.answers)
        self._steps = self._histogram("facegen_step_seconds", "One sampling step.", STEP_SECONDS)
        self._pictures = self._histogram("facegen_picture_seconds", "A picture, all that it takes.", PICTURE_SECONDS)
        self._batches = self._histogram("facegen_batch_pictures", "Pictures made at once.", BATCH_PICTURES)
        self._queue = Gauge("facegen_queue_length", "Requests in work.", ("state",), registry=self._registry)
        self._memory = Gauge("facegen_gpu_memory_bytes", "Memory of a GPU.", ("gpu", "kind"), registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, what, buckets=buckets, registry=self._registry)

    def step(self, seconds: float) -> None:
        self._steps.observe(seconds)

    def pictures(self, count: int, seconds: float) -> None:
        self._batches.observe(count)
        for _ in range(count):
            self._pictures.observe(seconds / count)

    def text(self, queue: Callable[[], dict[str, int]]) -> bytes:
        """In Prometheus' format; `queue` tells how many requests are in which state."""
        for state, count in queue().items():
            self._queue.labels(state).set(count)
        for number, device in enumerate(devices()):
            for kind in ("total", "free"):
                if f"vram_{kind}" in device:
                    self._memory.labels(str(number), kind).set(device[f"vram_{kind}"])
        return generate_latest(self._registry)
