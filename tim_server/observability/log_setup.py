"""Logging set-up: structlog and the standard library's logging end in one queue, one thread writes it.

Use `structlog.get_logger("area")` and name what happened: `log.warning("peer_unreachable", server_name=…)`. Log
identifiers, never content; ERROR means that somebody must act.
"""

import logging
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from tim_server.observability.log_writer import LogWriter, Sink
from tim_server.observability.pseudonyms import Pseudonymizer
from tim_server.observability.render_log import make_render
from tim_server.observability.request_id import current_request_id
from tim_server.observability.traces import describe_error

LogEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How to log. `pseudonym_key` None means identifiers as they are; `with_error_texts` may show what users wrote."""

    style: Literal["json", "console"] = "json"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    queue_length_max: int = 10_000
    pseudonym_key: bytes | None = None
    with_error_texts: bool = False


def configure_logging(settings: LogSettings, sink: Sink | None = None) -> LogWriter:
    """Send all logging of this process to `sink` (standard error by default); returns the started writer.

    Call `stop` on the writer before the process ends, and `start` in a forked child.
    """
    pseudonymizer = None if settings.pseudonym_key is None else Pseudonymizer(settings.pseudonym_key)
    render = make_render(style=settings.style, pseudonymizer=pseudonymizer, with_error_texts=settings.with_error_texts)
    writer = LogWriter(sink or sys.stderr.buffer, render, queue_length_max=settings.queue_length_max)
    level = logging.getLevelName(settings.level)
    structlog.configure(
        processors=[_add_context, _describe_exception],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *names: _QueueLogger(writer.put, names[0] if names else ""),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_LibraryRecords(writer.put)]
    root.setLevel(level)
    logging.captureWarnings(True)
    writer.start()
    return writer


def access_log(writer: LogWriter) -> LogEvent:
    """A function that queues one access log line, made for the hot path: no processors, the thread does the work."""
    put = writer.put

    def log_access(fields: dict[str, Any]) -> None:
        fields["timestamp"] = _timestamp()
        put(fields)

    return log_access


class _QueueLogger:
    """What structlog hands finished events to."""

    __slots__ = ("_name", "_put")

    def __init__(self, put: LogEvent, name: str) -> None:
        self._put = put
        self._name = name

    def msg(self, **fields: Any) -> None:
        if self._name:
            fields["logger"] = self._name
        self._put(fields)

    debug = info = warning = error = critical = exception = msg


class _LibraryRecords(logging.Handler):
    """Takes the records of libraries."""

    def __init__(self, put: LogEvent) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"timestamp": _timestamp(), "level": record.levelname.lower(), "logger": record.name}
        fields["event"] = record.getMessage()
        request_id = current_request_id.get()
        if request_id is not None:
            fields["request_id"] = request_id
        if record.exc_info and record.exc_info[1] is not None:
            fields.update(describe_error(record.exc_info[1]))
        self._put(fields)


def _add_context(_logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    fields["timestamp"] = _timestamp()
    fields["level"] = "error" if method == "exception" else method
    request_id = current_request_id.get()
    if request_id is not None:
        fields.setdefault("request_id", request_id)
    return fields


def _describe_exception(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = fields.pop("exc_info", None)
    if error is True:
        error = sys.exception()
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        fields.update(describe_error(error))
    return fields


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
