"""Logging never blocks, drops with a counter, and shows no content and no identifiers where they are to be hidden."""

import io
import json
import logging
import threading
import time

import pytest
import structlog

from tim_server.observability.log_setup import LogSettings, access_log, configure_logging
from tim_server.observability.log_writer import LogWriter
from tim_server.observability.request_id import current_request_id


class Sink(io.BytesIO):
    """A stream that can be told to block, like a full pipe."""

    def __init__(self):
        super().__init__()
        self.is_open = threading.Event()
        self.is_open.set()

    def write(self, data):
        self.is_open.wait(10)
        return super().write(data)

    def lines(self):
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def logged():
    """A function that logs through a configured set-up and returns the lines."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def log(action, **settings):
        sink = Sink()
        writer = configure_logging(LogSettings(**settings), sink)
        action(writer)
        writer.stop()
        return sink

    yield log
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_structlog_and_the_standard_library_end_in_the_same_stream(logged):
    def action(_writer):
        structlog.get_logger("area").info("joined", room_id="!r:b")
        logging.getLogger("asyncpg").warning("slow %s", "query")
        structlog.get_logger().debug("hidden")

    first, second = logged(action).lines()
    assert (first["level"], first["event"], first["room_id"], first["logger"]) == ("info", "joined", "!r:b", "area")
    assert (second["level"], second["event"], second["logger"]) == ("warning", "slow query", "asyncpg")


def test_lines_carry_the_request_id(logged):
    def action(_writer):
        token = current_request_id.set("req-1")
        structlog.get_logger().info("a")
        logging.getLogger("x").warning("b")
        current_request_id.reset(token)
        structlog.get_logger().info("c")

    assert [line.get("request_id") for line in logged(action).lines()] == ["req-1", "req-1", None]


def fail(_writer):
    try:
        try:
            raise ValueError("Diagnosis: secret")
        except ValueError as error:
            raise KeyError("secret too") from error
    except KeyError:
        structlog.get_logger().exception("failed")
        logging.getLogger("x").exception("failed too")


def test_an_error_is_logged_with_its_places_and_without_its_text(logged):
    sink = logged(fail)
    assert b"secret" not in sink.getvalue()
    for line in sink.lines():
        assert line["error"] == "KeyError"
        assert line["trace"][-1] == "KeyError"
        assert "ValueError" in line["trace"]
        assert any("test_logging.py" in place and place.endswith(" fail") for place in line["trace"])


def test_the_texts_of_errors_appear_only_where_asked_for(logged):
    assert b"Diagnosis: secret" in logged(fail, with_error_texts=True).getvalue()


def test_the_members_of_an_exception_group_are_described(logged):
    def action(_writer):
        try:
            raise ExceptionGroup("several", [OSError(5, "x"), ValueError("y")])
        except ExceptionGroup:
            structlog.get_logger().exception("failed")

    trace = logged(action).lines()[0]["trace"]
    assert "OSError" in trace and "ValueError" in trace


def test_users_and_addresses_are_pseudonymised_the_same_way_everywhere(logged):
    def action(writer):
        log = structlog.get_logger()
        log.info("login", user_id="@alice:h.org", members=["@alice:h.org"], nested={"by": "@alice:h.org"})
        logging.getLogger("x").warning("user @alice:h.org: gone")
        access_log(writer)({"event": "request", "user": "@alice:h.org", "client_address": "192.0.2.1"})

    sink = logged(action, pseudonym_key=b"k" * 16)
    assert b"alice" not in sink.getvalue()
    assert b"192.0.2.1" not in sink.getvalue()
    first, second, third = sink.lines()
    pseudonym = first["user_id"]
    assert first["members"] == [pseudonym] and first["nested"] == {"by": pseudonym}
    assert second["event"] == f"user {pseudonym}: gone"
    assert third["user"] == pseudonym


def test_pseudonyms_depend_on_the_key(logged):
    def action(_writer):
        structlog.get_logger().info("login", user_id="@alice:h.org")

    one = logged(action, pseudonym_key=b"k" * 16).lines()[0]["user_id"]
    other = logged(action, pseudonym_key=b"l" * 16).lines()[0]["user_id"]
    assert one != other


def test_logging_does_not_block_on_a_full_pipe_and_tells_what_it_lost():
    sink = Sink()
    sink.is_open.clear()
    writer = LogWriter(sink, lambda fields: json.dumps(fields).encode() + b"\n", queue_length_max=10)
    writer.start()
    writer.put({"event": "first"})
    time.sleep(0.2)  # the thread is stuck in the sink now
    started = time.monotonic()
    for number in range(25):
        writer.put({"event": "line", "number": number})
    assert time.monotonic() - started < 0.1
    assert writer.dropped_count == 15
    sink.is_open.set()
    writer.stop()
    events = [line["event"] for line in sink.lines()]
    assert events == ["first", *["line"] * 10, "log_lines_dropped"]
    assert sink.lines()[-1]["count"] == 15


def test_stopping_gives_up_on_a_sink_that_stays_blocked():
    sink = Sink()
    sink.is_open.clear()
    writer = LogWriter(sink, lambda fields: b"x")
    writer.start()
    writer.put({})
    started = time.monotonic()
    writer.stop(timeout_seconds=0.2)
    assert time.monotonic() - started < 1
    sink.is_open.set()


def test_a_broken_sink_breaks_nothing_else():
    class Broken(Sink):
        def write(self, data):
            raise OSError("disk full")

    writer = LogWriter(Broken(), lambda fields: b"x")
    writer.start()
    writer.put({})
    writer.stop()
    assert writer.dropped_count == 1


def test_nobody_forges_a_line_at_the_console(logged):
    def action(_writer):
        structlog.get_logger().info("login", name="x\n2026-01-01 error   forged \x1b[31m")

    assert logged(action, style="console").getvalue().count(b"\n") == 1


@pytest.mark.parametrize("value", ["\ud800", 2**70, {1: 2}, object(), b"bytes"])
@pytest.mark.parametrize("style", ["json", "console"])
def test_every_value_can_be_written(logged, value, style):
    assert logged(lambda _w: structlog.get_logger().info("x", value=value), style=style).getvalue().endswith(b"\n")
