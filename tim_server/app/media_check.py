"""The check of the media store, and what mends it, for the command line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tim_server.app.media_keys import load_media_codec
from tim_server.app.media_objects import open_objects
from tim_server.app.parts import now_ms
from tim_server.config.settings import Settings, TenantSettings
from tim_server.media_store.files import MediaFiles
from tim_server.media_store.objects import Objects
from tim_server.services.media.check import MediaCheck
from tim_server.services.media.keep import MARGIN_MS
from tim_server.services.media.mend import LostForgetting, OrphanRemoval
from tim_server.services.media.reap import LeftoverReaping
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database, DatabaseOptions

CONNECTIONS_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMediaCheck:
    """The services, of one homeserver."""

    check: MediaCheck
    removal: OrphanRemoval
    forgetting: LostForgetting


@asynccontextmanager
async def open_media_check(settings: Settings, tenant: TenantSettings) -> AsyncIterator[OpenMediaCheck]:
    """Open a homeserver's store and database, which is migrated. Raises `ConfigurationError`, also where the master key
    is another one."""
    dsn = tenant.database.direct_dsn or tenant.database.dsn
    assert dsn is not None, "the command line fills in the DSN of the embedded PostgreSQL"
    database = Database(DatabaseOptions(dsn=dsn.get_secret_value(), pool_size_max=CONNECTIONS_MAX))
    await database.open()
    try:
        async with database.connection() as connection:
            codec = await load_media_codec(settings, tenant, connection)
        objects = open_objects(settings, tenant)
        try:
            yield _services(tenant, database, codec, objects)
        finally:
            await objects.close()
    finally:
        await database.close()


def _services(tenant: TenantSettings, database: Database, codec: Codec, objects: Objects) -> OpenMediaCheck:
    server_name = tenant.server_name
    young_ms = MARGIN_MS + int(max(tenant.media.upload_timeout_s, tenant.media.remote_timeout_s) * 1000)
    return OpenMediaCheck(
        check=MediaCheck(
            server_name=server_name,
            database=database,
            codec=codec,
            files=MediaFiles(objects),
            young_ms=young_ms,
            now_ms=now_ms,
        ),
        removal=OrphanRemoval(
            server_name=server_name,
            database=database,
            objects=objects,
            reaping=LeftoverReaping(database=database, objects=objects, now_ms=now_ms),
            young_ms=young_ms,
            now_ms=now_ms,
        ),
        forgetting=LostForgetting(server_name=server_name, database=database, now_ms=now_ms),
    )
