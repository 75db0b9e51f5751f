"""Writes log lines on a thread of its own, so that a slow disk or a full pipe never stops the event loop.

The queue is bounded. What does not fit is dropped and counted, and the next line that fits says how much was lost.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

Fields = dict[str, Any]
Render = Callable[[Fields], bytes]

# Lines are gathered for this long before they are written: a wake-up of the thread costs more than a line.
_GATHER_SECONDS = 0.05
_BATCH_LINES_MAX = 256


class Sink(Protocol):
    """Where lines go: a binary stream."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`, or block."""
        ...

    def flush(self) -> None:
        """Pass on what was written."""
        ...


class LogWriter:
    """A bounded queue of log lines, and the thread that renders and writes them."""

    def __init__(self, sink: Sink, render: Render, *, queue_length_max: int = 10_000) -> None:
        self.dropped_count = 0
        self._sink = sink
        self._render = render
        self._queue: deque[Fields] = deque()
        self._queue_length_max = queue_length_max
        self._reported_drops = 0
        self._has_work = threading.Event()
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Also after a fork, which takes no threads along."""
        self._is_stopping.clear()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, fields: Fields) -> None:
        """Queue a line; never blocks, from any thread."""
        if len(self._queue) >= self._queue_length_max:
            self.dropped_count += 1
            return
        self._queue.append(fields)
        if not self._has_work.is_set():
            self._has_work.set()

    def stop(self, timeout_seconds: float = 2.0) -> None:
        """Write what is queued and end the thread; gives up on a sink that blocks for longer."""
        self._is_stopping.set()
        self._has_work.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
            self._thread = None

    def _run(self) -> None:
        while True:
            self._has_work.wait()
            is_stopping = self._is_stopping.wait(_GATHER_SECONDS)
            self._has_work.clear()
            self._write_queued()
            if is_stopping:
                return

    def _write_queued(self) -> None:
        while self._queue:
            count = min(len(self._queue), _BATCH_LINES_MAX)
            self._write([self._queue.popleft() for _ in range(count)])
        dropped = self.dropped_count - self._reported_drops
        if dropped:
            self._reported_drops += dropped
            self._write([{"level": "warning", "event": "log_lines_dropped", "count": dropped}])

    def _write(self, batch: list[Fields]) -> None:
        try:
            self._sink.write(b"".join([self._render(fields) for fields in batch]))
            self._sink.flush()
        except (OSError, ValueError):
            # Nobody can be told that the log itself is broken; the counter of dropped lines shows it.
            self.dropped_count += len(batch)
            self._reported_drops += len(batch)
