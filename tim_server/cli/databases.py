"""The databases of a configuration: those that it names, and the embedded one where it names none."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tim_server.config.settings import Settings
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.embedded_install import EmbeddedPostgresError

WATCH_INTERVAL_S = 0.2
RETRY_INTERVAL_S = 5.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """`settings` name a DSN for every homeserver; `postgres` is the embedded server, where one is used."""

    settings: Settings
    postgres: EmbeddedPostgres | None

    async def watch(self) -> None:
        """Start the embedded PostgreSQL again whenever it dies; never returns."""
        if self.postgres is None or not self.postgres.is_owner:
            await asyncio.Event().wait()
            return
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self.postgres.is_running:
                continue
            try:
                await asyncio.to_thread(self.postgres.restart_if_dead)
            except EmbeddedPostgresError as error:
                _logger.error("the embedded PostgreSQL cannot be started: %s", error)
                await asyncio.sleep(RETRY_INTERVAL_S)


@contextmanager
def open_databases(settings: Settings) -> Iterator[Databases]:
    """Start the embedded PostgreSQL, or attach to it, and give each homeserver without a DSN its role in it.

    Raises `EmbeddedPostgresError`, `DatabaseUnreachable`.
    """
    if not settings.uses_embedded_postgres:
        yield Databases(settings=settings, postgres=None)
        return
    postgres = EmbeddedPostgres(settings.embedded_postgres_folder, max_connections=settings.embedded_connections_max)
    with postgres:
        yield Databases(settings=asyncio.run(_provision(settings, postgres)), postgres=postgres)


async def _provision(settings: Settings, postgres: EmbeddedPostgres) -> Settings:
    dsns = {
        tenant.server_name: await postgres.provision_tenant(tenant.database_role)
        for tenant in settings.tenants
        if tenant.database.dsn is None
    }
    return settings.with_dsns(dsns)
