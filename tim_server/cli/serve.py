"""`tim-server serve`: one process, or a parent that supervises several."""

import asyncio
import errno
import socket
import time
from pathlib import Path

from tim_server.cli.check_config import check_files
from tim_server.cli.databases import Databases, open_databases
from tim_server.cli.event_loop import run, until_done
from tim_server.cli.failures import EXIT_UNAVAILABLE, CommandFailed
from tim_server.cli.logs import logging_as
from tim_server.cli.supervise import Workers
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings

PORT_WAIT_S = 2.0
"""How long to wait for a port: workers whose parent was killed need a moment to notice."""
PORT_POLL_INTERVAL_S = 0.1
STOP_MARGIN_S = 10.0
"""How much longer than its requests a worker may take to stop."""


def serve(config: Path, *, workers: int | None) -> None:
    """Serve until SIGTERM or SIGINT. Raises what `failures_told` tells."""
    settings = load_settings(config)
    if workers is not None:
        settings = settings.with_workers(workers)
    check_files(config, settings)
    check_ports(settings)
    with open_databases(settings) as databases:
        if settings.workers == 1:
            run(lambda stop: _serve_here(databases, stop))
            return
        from tim_server.app import prepare

        asyncio.run(prepare(databases.settings))
        with logging_as(settings.observability):
            family = Workers(
                config=config, count=settings.workers, stop_timeout_s=settings.limits.shutdown_timeout_s + STOP_MARGIN_S
            )
            run(lambda stop: until_done(family.supervise(stop), databases.watch()))


async def _serve_here(databases: Databases, stop: asyncio.Event) -> None:
    from tim_server.app import prepare, run_process

    await prepare(databases.settings)
    await until_done(run_process(databases.settings, worker_index=0, worker_count=1, stop=stop), databases.watch())


def check_ports(settings: Settings) -> None:
    """Raise `CommandFailed` where an address can't be listened on.

    Workers share ports (SO_REUSEPORT), so a second server would otherwise start without complaint and take its share
    of the requests.
    """
    for listener in settings.listeners:
        for index in range(1 if listener.is_public else settings.workers):
            check_port(listener.address, listener.port_of(index))


def check_port(address: str, port: int) -> None:
    """Raise `CommandFailed` where somebody else listens there, after waiting a little for it to end."""
    deadline = time.monotonic() + PORT_WAIT_S
    while True:
        try:
            _try_port(address, port)
            return
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(PORT_POLL_INTERVAL_S)
                continue
            reason = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise CommandFailed(
                f"cannot listen on {address} port {port}: {reason}", exit_code=EXIT_UNAVAILABLE
            ) from None


def _try_port(address: str, port: int) -> None:
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(place)
        probe.listen(1)
