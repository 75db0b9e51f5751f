"""`tim-server migrate`: bring the schemas to the form that this release needs, apart from serving."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from tim_server.cli.databases import open_databases
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings
from tim_server.storage.migrations import migrate, read_missing


def run_migrations(config: Path, *, only_check: bool) -> dict[str, tuple[str, ...]]:
    """By server name, the migrations applied, or those missing with `only_check`. Raises what `failures_told` tells."""
    with open_databases(load_settings(config)) as databases:
        return asyncio.run(_each(databases.settings, only_check=only_check))


async def _each(settings: Settings, *, only_check: bool) -> dict[str, tuple[str, ...]]:
    work = read_missing if only_check else migrate
    return {name: await work(dsn) for name, dsn in _direct_dsns(settings)}


def _direct_dsns(settings: Settings) -> Iterator[tuple[str, str]]:
    """Locks of a session do not hold through a pooler."""
    for tenant in settings.tenants:
        dsn = tenant.database.direct_dsn or tenant.database.dsn
        if dsn is not None:
            yield tenant.server_name, dsn.get_secret_value()
