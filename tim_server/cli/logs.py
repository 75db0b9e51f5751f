"""Logging of processes that serve nothing themselves: the parent of workers, the demonstration."""

from collections.abc import Iterator
from contextlib import contextmanager

from tim_server.config.observability import ObservabilitySettings
from tim_server.observability.log_setup import LogSettings, configure_logging


@contextmanager
def logging_as(settings: ObservabilitySettings) -> Iterator[None]:
    """Log as configured; what is queued at the end is still written."""
    key = settings.pseudonym_key
    writer = configure_logging(
        LogSettings(
            style=settings.log_format,
            level=settings.log_level,
            queue_length_max=settings.log_queue_length_max,
            pseudonym_key=key.get_secret_value().encode() if key is not None else None,
        )
    )
    try:
        yield
    finally:
        writer.stop()
