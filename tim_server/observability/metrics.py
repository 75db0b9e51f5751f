"""Metrics of one process, in Prometheus' text format.

Labels are route templates, methods and statuses: never users, rooms, servers or paths.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def new_registry() -> CollectorRegistry:
    """A registry with the process's own figures (memory, CPU, open files, garbage collection)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def render_metrics(registry: CollectorRegistry) -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(registry)


class ReadAtScrape(Collector):
    """A figure that is read when it is asked for: queue lengths, cache sizes, counters kept elsewhere."""

    def __init__(self, name: str, help_text: str, read: Callable[[], float], *, is_counter: bool = False) -> None:
        self._name = name
        self._help_text = help_text
        self._read = read
        self._family = CounterMetricFamily if is_counter else GaugeMetricFamily

    def collect(self) -> Iterator[Metric]:
        """The one sample."""
        yield self._family(self._name, self._help_text, value=self._read())


class CountsAtScrape(Collector):
    """Counters kept elsewhere, one for each value of a label; they are read when they are asked for."""

    def __init__(self, name: str, help_text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._help_text = help_text
        self._label = label
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """A sample for each value."""
        family = CounterMetricFamily(self._name, self._help_text, labels=(self._label,))
        for value, count in self._read().items():
            family.add_metric((value,), count)
        yield family


class RequestMetrics(Collector):
    """Count and duration of requests by route template, method and status. Kept in the event loop, without locks."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._samples: dict[tuple[str, str, int], list[float]] = {}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (route, method, status)
        sample = self._samples.get(key)
        if sample is None:
            sample = self._samples[key] = [0.0] * (len(_BUCKETS) + 2)
        sample[bisect_left(_BUCKETS, seconds)] += 1
        sample[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """The histogram `tim_http_request_duration_seconds` and the gauge `tim_http_requests_in_flight`."""
        family = HistogramMetricFamily(
            "tim_http_request_duration_seconds",
            "Time from a request's headers to its answer",
            labels=("route", "method", "status"),
        )
        for (route, method, status), sample in list(self._samples.items()):
            total = 0.0
            buckets = []
            for bound, count in zip((*map(str, _BUCKETS), "+Inf"), sample, strict=False):
                total += count
                buckets.append((bound, total))
            family.add_metric((route, method, str(status)), buckets=buckets, sum_value=sample[-1])
        yield family
        yield GaugeMetricFamily("tim_http_requests_in_flight", "Requests being answered", value=self.in_flight)
