"""The keys that seal the keys of files: made at the first start, and opened with the master key at each."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tim_server.app.master_key import ensure_master_key, master_key_error, read_master_keys
from tim_server.app.parts import now_ms
from tim_server.config.base import SECRET_KEY_BYTES
from tim_server.config.settings import Settings, TenantSettings
from tim_server.storage.audit_log import COMMAND_LINE, AuditEntry, append_audit
from tim_server.storage.codec import Codec, SealedContentUnreadable, sealing_key
from tim_server.storage.connect import connect
from tim_server.storage.database import Connection
from tim_server.storage.media_keys import StoredKey, add_media_key, load_media_keys, reseal_media_keys

_FIRST = 1


async def ensure_media_keys(settings: Settings, tenant: TenantSettings) -> None:
    """Make the first key of a homeserver, and have the master key seal what a former one has sealed. Raises
    `ConfigurationError` where the master key is not the one that sealed them, and `DatabaseUnreachable`."""
    async with _transaction(tenant) as tx:
        stored = await load_media_keys(tx)
        if not stored:
            await _add_first(tx, settings)
            stored = await load_media_keys(tx)
        await _reseal(tx, settings, tenant, stored)


async def add_newer_media_key(settings: Settings, tenant: TenantSettings) -> int:
    """Make a key that seals from the next start on, and give its number. All others still open. Raises
    `ConfigurationError` and `DatabaseUnreachable`."""
    async with _transaction(tenant) as tx:
        stored = await load_media_keys(tx)
        _open(settings, tenant, stored)  # with a wrong master key nothing is sealed
        if not stored:
            await _add_first(tx, settings)
            return _FIRST
        number = stored[0].number + 1
        await _add(tx, settings, number)
        await append_audit(tx, AuditEntry(actor=COMMAND_LINE, action="media_key.rotate", object=tenant.server_name))
        return number


@asynccontextmanager
async def _transaction(tenant: TenantSettings) -> AsyncIterator[Connection]:
    dsn = tenant.database.direct_dsn or tenant.database.dsn
    assert dsn is not None, "the command line fills in the DSN of the embedded PostgreSQL"
    connection = await connect(dsn.get_secret_value())
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


async def load_media_codec(settings: Settings, tenant: TenantSettings, tx: Connection) -> Codec:
    """What seals with the newest key of the homeserver, and opens with any; raises `ConfigurationError`."""
    stored = await load_media_keys(tx)
    return Codec(tuple(sealing_key(key) for key in _open(settings, tenant, stored)))


async def _add_first(tx: Connection, settings: Settings) -> None:
    ensure_master_key(settings)
    await _add(tx, settings, _FIRST)


async def _add(tx: Connection, settings: Settings, number: int) -> None:
    sealed = _master_codec(settings).encode(secrets.token_bytes(SECRET_KEY_BYTES))
    await add_media_key(tx, StoredKey(number, sealed), created_ts=now_ms())


async def _reseal(tx: Connection, settings: Settings, tenant: TenantSettings, stored: list[StoredKey]) -> None:
    opened = _open(settings, tenant, stored)
    codec = _master_codec(settings)
    if len(codec.keys) == 1:
        return
    await reseal_media_keys(
        tx, [StoredKey(each.number, codec.encode(key)) for each, key in zip(stored, opened, strict=True)]
    )


def _open(settings: Settings, tenant: TenantSettings, stored: list[StoredKey]) -> list[bytes]:
    codec = _master_codec(settings)
    try:
        return [codec.decode(each.sealed_key) for each in stored]
    except SealedContentUnreadable:
        raise master_key_error(
            settings,
            f"is not the master key that has sealed the keys of the files of {tenant.server_name}: "
            "start with the one that has",
        ) from None


def _master_codec(settings: Settings) -> Codec:
    return Codec(tuple(sealing_key(key) for key in read_master_keys(settings)))
