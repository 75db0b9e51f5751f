"""`tim-server rebuild-derived`: make the tables that are derived from the event log anew."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tim_server.cli.databases import open_databases
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings, TenantSettings
from tim_server.storage.codec import make_codec
from tim_server.storage.connect import connect
from tim_server.storage.migrations import migrate
from tim_server.storage.rebuild import Rebuilt, rebuild_derived


def rebuild(config: Path) -> Sequence[str]:
    """Rebuild for each homeserver; a line for each. Raises what `failures_told` tells."""
    with open_databases(load_settings(config)) as databases:
        return asyncio.run(_each(databases.settings))


async def _each(settings: Settings) -> list[str]:
    return [_line(tenant.server_name, await _rebuild(tenant)) for tenant in settings.tenants]


async def _rebuild(tenant: TenantSettings) -> Rebuilt:
    dsn = tenant.database.direct_dsn or tenant.database.dsn
    assert dsn is not None, "open_databases fills in the DSN of the embedded PostgreSQL"
    await migrate(dsn.get_secret_value())
    connection = await connect(dsn.get_secret_value())
    try:
        async with connection.transaction():
            return await rebuild_derived(connection, make_codec(tenant.sealing.key_bytes))
    finally:
        await connection.close()


def _line(server_name: str, done: Rebuilt) -> str:
    mended = "nothing had to be mended" if done.mended == 0 else f"{done.mended} rows were wrong and are mended"
    return f"{server_name}: {done.rows} rows of {done.rooms} rooms, {mended}"
