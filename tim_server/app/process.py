"""One process: its homeservers, its listeners, and how they start and stop."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog

from tim_server.app.homeserver import OpenHomeserver, open_homeserver
from tim_server.app.listeners import make_web_server
from tim_server.app.media_keys import ensure_media_keys
from tim_server.app.media_objects import check_objects
from tim_server.app.memory import give_back_freed_memory
from tim_server.app.metrics import register_process_metrics
from tim_server.app.open_files import raise_open_files_limit
from tim_server.background.supervise import supervise
from tim_server.config.settings import Settings
from tim_server.config.signing_key import ensure_signing_key
from tim_server.observability.log_setup import LogSettings, access_log, configure_logging
from tim_server.observability.metrics import new_registry
from tim_server.storage.migrations import migrate
from tim_server.web.server import WebServer

_log = structlog.get_logger("server")


async def prepare(settings: Settings) -> None:
    """What must be there before a process starts: migrated schemas, signing keys, keys of files, a store for them.

    Raises `DatabaseUnreachable`, `SchemaTooNew`, `MigrationFailed`, `ConfigurationError`.
    """
    for tenant in settings.tenants:
        ensure_signing_key(settings.signing_key_path(tenant))
        assert tenant.database.dsn is not None
        dsn = tenant.database.direct_dsn or tenant.database.dsn
        await migrate(dsn.get_secret_value())
        await ensure_media_keys(settings, tenant)
        await check_objects(settings, tenant)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProcess:
    """What runs, for those who want to look inside: tests, and commands that need no listeners."""

    web_server: WebServer
    homeservers: tuple[OpenHomeserver, ...]


@asynccontextmanager
async def start_process(
    settings: Settings, *, worker_index: int = 0, worker_count: int = 1
) -> AsyncIterator[RunningProcess]:
    """Open the homeservers and the listeners; on leaving, finish what was accepted and close all. Needs `prepare`."""
    observability = settings.observability
    pseudonym_key = observability.pseudonym_key
    log_writer = configure_logging(
        LogSettings(
            style=observability.log_format,
            level=observability.log_level,
            queue_length_max=observability.log_queue_length_max,
            pseudonym_key=None if pseudonym_key is None else pseudonym_key.get_secret_value().encode(),
        )
    )
    async with AsyncExitStack() as stack:
        stack.callback(log_writer.stop)
        registry = new_registry()
        homeservers: list[OpenHomeserver] = []
        for tenant in settings.tenants:
            homeservers.append(await open_homeserver(settings, tenant, worker_count=worker_count))
            stack.push_async_callback(homeservers[-1].close)
        web_server = make_web_server(
            settings,
            homeservers,
            worker_index=worker_index,
            worker_count=worker_count,
            registry=registry,
            log_access=access_log(log_writer) if observability.log_level in ("DEBUG", "INFO") else None,
        )
        register_process_metrics(registry, log_writer, homeservers)
        loops = [loop for opened in homeservers for loop in opened.loops]
        stack.push_async_callback(supervise(loops).stop)
        await web_server.start()
        stack.push_async_callback(web_server.stop)
        _log.info("serving", addresses=web_server.addresses, health=web_server.health_address, pid=os.getpid())
        stack.callback(_log.info, "stopping", pid=os.getpid())
        stack.enter_context(_reload_on_hangup(web_server))
        yield RunningProcess(web_server=web_server, homeservers=tuple(homeservers))


@contextmanager
def _reload_on_hangup(web_server: WebServer) -> Iterator[None]:
    """Read TLS certificates again on SIGHUP, as after a renewal."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, web_server.reload_tls)
    except (RuntimeError, ValueError):  # not the main thread, as in tests
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def run_process(settings: Settings, *, worker_index: int, worker_count: int, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish what was accepted."""
    raise_open_files_limit()
    give_back_freed_memory()
    async with start_process(settings, worker_index=worker_index, worker_count=worker_count):
        gc.collect()
        gc.freeze()  # what a process begins with stays: no collection needs to look at it again
        await stop.wait()
