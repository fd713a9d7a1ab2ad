"""What a replica counts, for the Prometheus that watches Ray: docs/scale.md has the dashboard."""

from ray.util.metrics import Counter, Histogram

from ..server.metrics import PICTURE_SECONDS, STEP_SECONDS


class ReplicaMetrics:
    """An Observer, see ../server/queue/making.py."""

    def __init__(self) -> None:
        self._steps = Histogram("facegen_replica_step_seconds", "One sampling step.", boundaries=list(STEP_SECONDS))
        self._seconds = Histogram(
            "facegen_replica_picture_seconds", "A picture, all that it takes.", boundaries=list(PICTURE_SECONDS)
        )
        self._pictures = Counter("facegen_replica_pictures", "Pictures made.")

    def step(self, seconds: float) -> None:
        self._steps.observe(seconds)

    def pictures(self, count: int, seconds: float) -> None:
        self._pictures.inc(count)
        for _ in range(count):
            self._seconds.observe(seconds / count)
