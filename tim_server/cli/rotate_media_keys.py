"""`tim-server keys rotate-media` and `keys rotate-master`: keys of files are replaced, and no file is written anew."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tim_server.app.master_key import is_master_key_in_file, replace_master_key
from tim_server.app.media_keys import add_newer_media_key, ensure_media_keys
from tim_server.cli.databases import open_databases
from tim_server.cli.failures import CommandFailed
from tim_server.cli.user_accounts import choose_tenant
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings
from tim_server.storage.migrations import migrate


def rotate_media_key(config: Path, *, server_name: str | None) -> str:
    """What was done, for people. Raises what `failures_told` tells."""
    settings = load_settings(config)
    index = settings.tenants.index(choose_tenant(settings, server_name))

    async def add(settings: Settings) -> str:
        tenant = settings.tenants[index]
        number = await add_newer_media_key(settings, tenant)
        return (
            f"The files of {tenant.server_name} have a new key, number {number}.\n"
            "Restart the server now, all its processes together: those that know the key seal with it, and others "
            "can't open that."
        )

    return _with_databases(settings, add)


def rotate_master_key(config: Path) -> str:
    """What was done, for people. Raises what `failures_told` tells. Ended at any point, it leaves two keys that open
    all, and the next start finishes it."""
    settings = load_settings(config)
    if not is_master_key_in_file(settings):
        raise CommandFailed(
            "the master key is in the configuration: put the new one there, the one until now as "
            "media_store.former_master_key, and start the server"
        )
    former = settings.former_media_master_key_path

    async def replace(settings: Settings) -> str:
        await _seal_with_newest(settings)  # which finishes what was begun before
        if former.exists():
            raise CommandFailed(
                f"{former} is still there: backups from before need that key. Move it to a safe place, or remove it "
                "where there are none"
            )
        replace_master_key(settings)
        await _seal_with_newest(settings)
        return (
            f"The new master key is in {settings.media_master_key_path}; no restart is needed.\n"
            f"The former one is in {former}: backups of the database from before need it. Move it to a safe place."
        )

    return _with_databases(settings, replace)


async def _seal_with_newest(settings: Settings) -> None:
    for tenant in settings.tenants:
        await ensure_media_keys(settings, tenant)


def _with_databases(settings: Settings, work: Callable[[Settings], Coroutine[Any, Any, str]]) -> str:
    async def run(settings: Settings) -> str:
        for tenant in settings.tenants:
            dsn = tenant.database.direct_dsn or tenant.database.dsn
            if dsn is None:
                raise CommandFailed(f"no database is known for {tenant.server_name}")
            await migrate(dsn.get_secret_value())
        return await work(settings)

    with open_databases(settings) as databases:
        return asyncio.run(run(databases.settings))
