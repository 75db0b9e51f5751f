"""Metrics in Prometheus' text format."""

from prometheus_client.parser import text_string_to_metric_families

from tim_server.observability.metrics import ReadAtScrape, RequestMetrics, new_registry, render_metrics
from tim_server.observability.request_id import new_request_id


def samples(registry):
    families = text_string_to_metric_families(render_metrics(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_are_counted_by_route_method_and_status():
    registry = new_registry()
    metrics = RequestMetrics()
    registry.register(metrics)
    metrics.observe("/rooms/{roomId}", "GET", 200, 0.002)
    metrics.observe("/rooms/{roomId}", "GET", 200, 0.2)
    metrics.observe("/rooms/{roomId}", "GET", 200, 60)
    metrics.observe("/rooms/{roomId}", "GET", 403, 0.001)
    metrics.in_flight = 3
    found = samples(registry)
    name = "tim_http_request_duration_seconds"
    ok = (("method", "GET"), ("route", "/rooms/{roomId}"), ("status", "200"))

    def bucket(bound):
        return found[(f"{name}_bucket", tuple(sorted((*ok, ("le", bound)))))]

    assert found[(f"{name}_count", ok)] == 3
    assert found[(f"{name}_sum", ok)] == 60.202
    assert (bucket("0.001"), bucket("0.0025"), bucket("0.25"), bucket("30.0"), bucket("+Inf")) == (0, 1, 2, 2, 3)
    assert found[(f"{name}_count", (ok[0], ok[1], ("status", "403")))] == 1
    assert found[("tim_http_requests_in_flight", ())] == 3


def test_figures_of_other_parts_are_read_when_asked_for():
    registry = new_registry()
    queue = [1, 2]
    registry.register(ReadAtScrape("tim_queue_length", "Queued things", lambda: len(queue)))
    registry.register(ReadAtScrape("tim_lost", "Lost things", lambda: 4, is_counter=True))
    queue.append(3)
    found = samples(registry)
    assert found[("tim_queue_length", ())] == 3
    assert found[("tim_lost_total", ())] == 4


def test_a_registry_knows_the_process():
    assert any(name == "process_resident_memory_bytes" for name, _labels in samples(new_registry()))


def test_request_ids_differ():
    assert len({new_request_id() for _ in range(1000)}) == 1000
