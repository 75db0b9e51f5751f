"""Figures of a process for Prometheus, besides those of requests: queues, the commit log, dropped log lines."""

from collections.abc import Sequence

from prometheus_client.registry import CollectorRegistry

from tim_server.app.homeserver import OpenHomeserver
from tim_server.observability.log_writer import LogWriter
from tim_server.observability.metrics import ReadAtScrape


def register_process_metrics(
    registry: CollectorRegistry, log_writer: LogWriter, homeservers: Sequence[OpenHomeserver]
) -> None:
    """Have them read when they are asked for; sums over the process's homeservers."""

    def waiting() -> float:
        return sum(opened.store.writer.queue_length for opened in homeservers)

    def remembered() -> float:
        return sum(opened.store.commit_log.length for opened in homeservers)

    for metric in (
        ReadAtScrape(
            "tim_log_lines_dropped",
            "Log lines dropped because too many waited to be written",
            lambda: float(log_writer.dropped_count),
            is_counter=True,
        ),
        ReadAtScrape("tim_writer_queue_length", "Writes that wait for the database", waiting),
        ReadAtScrape("tim_commits_remembered", "Commits remembered to wake waiting syncs with", remembered),
    ):
        registry.register(metric)
