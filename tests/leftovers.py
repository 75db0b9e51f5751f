"""The removal of what is left over of files, now instead of in hours."""

from tim_server.media_store.objects import Objects
from tim_server.services.media.reap import LeftoverReaping
from tim_server.storage.database import Database, DatabaseOptions

_LATER_MS = 2**60
_KNOWN = "SELECT object_name FROM media UNION ALL SELECT object_name FROM thumbnails"


async def reap_all(dsn: str, objects: Objects) -> list[str]:
    """Remove all that is left over; the names of the objects of files and thumbnails, which are all that there are
    then."""
    database = Database(DatabaseOptions(dsn=dsn))
    await database.open()
    try:
        await LeftoverReaping(database=database, objects=objects, now_ms=lambda: _LATER_MS).reap()
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM media_leftovers") == 0
            return [row[0] for row in await connection.fetch(_KNOWN)]
    finally:
        await database.close()
