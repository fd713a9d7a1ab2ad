"""The front's answers, counted. Of the event loop alone, so without the locks that prometheus_client's own counters take."""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BOUNDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 25.0, 60.0)  # seconds


class Answers(Collector):
    """How many requests are in work, how many were answered by route and outcome, and how long that took."""

    def __init__(self) -> None:
        self._open, self._seconds = 0, 0.0
        self._counts: dict[tuple[str, str], int] = {}
        self._in_bucket = [0] * (len(BOUNDS) + 1)

    def begun(self) -> None:
        self._open += 1

    def answered(self, route: str, outcome: str, seconds: float) -> None:
        self._open -= 1
        self._seconds += seconds
        self._in_bucket[bisect_left(BOUNDS, seconds)] += 1
        self._counts[route, outcome] = self._counts.get((route, outcome), 0) + 1

    def collect(self) -> Iterator[Metric]:
        """As Prometheus is told."""
        counted = CounterMetricFamily("facegen_requests", "HTTP requests", labels=("route", "outcome"))
        for labels, count in self._counts.items():
            counted.add_metric(labels, count)
        yield counted
        buckets, total = [], 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._in_bucket, strict=True):
            total += count
            buckets.append((bound, total))
        what = "From a request's arrival to its answer."
        yield HistogramMetricFamily("facegen_answer_seconds", what, buckets=buckets, sum_value=self._seconds)
        yield GaugeMetricFamily("facegen_open_requests", "HTTP requests in work", value=self._open)
