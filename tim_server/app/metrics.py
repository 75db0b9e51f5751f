"""Figures of a process for Prometheus, besides those of requests: queues, the commit log, dropped log lines, trust."""

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client.registry import CollectorRegistry

from tim_server.app.homeserver import OpenHomeserver
from tim_server.app.parts import now_ms
from tim_server.observability.log_writer import LogWriter
from tim_server.observability.metrics import CountsAtScrape, ReadAtScrape
from tim_server.services.media.scan import ScanOutcome
from tim_server.services.trust.choke_points import ChokePoint
from tim_server.services.trust.health import health_of


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
    _register_trust(registry, homeservers)
    register_sending(registry, homeservers)
    register_receiving(registry, homeservers)
    _register_scans(registry, homeservers)


def _register_trust(registry: CollectorRegistry, homeservers: Sequence[OpenHomeserver]) -> None:
    """How often contact was refused, and how old what is decided by is. No server is named."""
    directories = [each.federation.trust.directory for each in homeservers]
    refreshes = [each for each in directories if each is not None]

    def refusals() -> dict[str, float]:
        counts: Counter[str] = Counter()
        for opened in homeservers:
            counts.update(opened.federation.trust.decisions.refusal_counts)
        return {point: float(counts[point]) for point in ChokePoint}

    def without_directory() -> float:
        return sum(health_of(each.knowledge, each.status, now_ms()).needs_somebody for each in refreshes)

    def age_s() -> float:
        checked = [each.status.checked_ts for each in refreshes]
        return max(((now_ms() - ts) / 1000 for ts in checked if ts is not None), default=0.0)

    for metric in (
        CountsAtScrape("tim_trust_refusals", "Contacts with other servers that were refused", "point", refusals),
        ReadAtScrape(
            "tim_trust_directories_expired", "Homeservers whose directory is missing, or too old", without_directory
        ),
        ReadAtScrape("tim_trust_directory_age_seconds", "Since when a directory has not been found current", age_s),
        ReadAtScrape(
            "tim_trust_directory_failures",
            "Attempts to refresh a directory that failed",
            lambda: float(sum(each.failure_count for each in refreshes)),
            is_counter=True,
        ),
    ):
        registry.register(metric)


def register_sending(registry: CollectorRegistry, homeservers: Sequence[OpenHomeserver]) -> None:
    """What goes to other servers. Only the process that is elected to send has these figures; others show 0."""
    senders = [each.sending.sender for each in homeservers]

    def outcomes() -> dict[str, float]:
        counts: Counter[str] = Counter(delivered=0)
        for sender in senders:
            counts.update(sender.counts)
        return {outcome: float(count) for outcome, count in counts.items()}

    for metric in (
        CountsAtScrape("tim_federation_transactions", "Attempts to send transactions", "outcome", outcomes),
        ReadAtScrape(
            "tim_federation_outbox_events",
            "Events that wait to be sent, once for each server",
            lambda: float(sum(sender.waiting_count for sender in senders)),
        ),
        ReadAtScrape(
            "tim_federation_servers_failing",
            "Servers to which sending fails",
            lambda: float(sum(sender.failing_count for sender in senders)),
        ),
        ReadAtScrape(
            "tim_federation_lag_seconds",
            "For how long the server that is the furthest behind has not had all, of those to which sending works",
            lambda: max((sender.lag_s() for sender in senders), default=0.0),
        ),
    ):
        registry.register(metric)


def register_receiving(registry: CollectorRegistry, homeservers: Sequence[OpenHomeserver]) -> None:
    """What comes from other servers. Of what waits only the process has figures that is elected to fetch what lacks."""
    receivers = [each.homeserver.transaction_receiver.pdus for each in homeservers]

    def summed(counts: Iterable[Counter[str]]) -> dict[str, float]:
        total: Counter[str] = Counter()
        for each in counts:
            total.update(each)
        return {outcome: float(count) for outcome, count in total.items()}

    for metric in (
        CountsAtScrape(
            "tim_federation_events",
            "Events that other servers sent",
            "outcome",
            lambda: summed(receiver.counts for receiver in receivers),
        ),
        CountsAtScrape(
            "tim_federation_waiting_events",
            "Attempts on events that wait for others",
            "outcome",
            lambda: summed(receiver.waiting.counts for receiver in receivers),
        ),
    ):
        registry.register(metric)


def _register_scans(registry: CollectorRegistry, homeservers: Sequence[OpenHomeserver]) -> None:
    """How often files were scanned for malware, and what came of it."""
    scans = [each.homeserver.media_upload.keeping.scan for each in homeservers]

    def outcomes() -> dict[str, float]:
        counts: Counter[str] = Counter()
        for scan in scans:
            counts.update(scan.counts if scan is not None else {})
        return {outcome: float(counts[outcome]) for outcome in ScanOutcome}

    registry.register(CountsAtScrape("tim_media_scans", "Files scanned for malware", "outcome", outcomes))
