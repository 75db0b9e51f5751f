"""Smaller images of media, kept as files of their own. Not derived from the event log, but from media."""

from dataclasses import dataclass

from tim_server.matrix.identifiers import MediaId, ServerName
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.media import decode_details, doom_object, encode_details, take_object
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="thumbnails",
        owner="services.media.thumbnails",
        bound="up to 30 for each medium; media.thumbnails_kept_bytes_max for all",
        reaper="whoever removes the medium; services.media.expire_thumbnails",
    ),
)

VARIANTS_MAX = 30
"""How many are kept of one image; further ones are made anew each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredThumbnail:
    """A thumbnail. `variant` names what was asked for."""

    server_name: ServerName
    media_id: MediaId
    variant: str
    object_name: str
    file_key: bytes
    content_type: str
    size_bytes: int
    created_ts: int


FIND_THUMBNAIL = """
SELECT object_name, details, size_bytes, created_ts FROM thumbnails
WHERE server_name = $1 AND media_id = $2 AND variant = $3
"""


async def find_thumbnail(
    tx: Connection, codec: Codec, server_name: ServerName, media_id: MediaId, variant: str
) -> StoredThumbnail | None:
    """The thumbnail, if there is one."""
    row = await tx.fetchrow(FIND_THUMBNAIL, server_name, media_id, variant)
    if row is None:
        return None
    details = decode_details(codec, row["details"])
    return StoredThumbnail(
        server_name=server_name,
        media_id=media_id,
        variant=variant,
        object_name=row["object_name"],
        file_key=details.key,
        content_type=details.type,
        size_bytes=row["size_bytes"],
        created_ts=row["created_ts"],
    )


INSERT_THUMBNAIL = """
INSERT INTO thumbnails (server_name, media_id, variant, object_name, details, size_bytes, created_ts)
SELECT $1, $2, $3, $4, $5, $6, $7
WHERE EXISTS (SELECT FROM media WHERE server_name = $1 AND media_id = $2)
  AND (SELECT count(*) FROM thumbnails WHERE server_name = $1 AND media_id = $2) < $8
ON CONFLICT (server_name, media_id, variant) DO NOTHING RETURNING true
"""


async def insert_thumbnail(tx: Connection, codec: Codec, thumbnail: StoredThumbnail) -> bool:
    """Make a noted object a thumbnail. False where it is there already, there are too many, or the medium is gone; the
    object is removed then."""
    is_new = await take_object(tx, thumbnail.object_name) and await tx.fetchval(
        INSERT_THUMBNAIL,
        thumbnail.server_name,
        thumbnail.media_id,
        thumbnail.variant,
        thumbnail.object_name,
        encode_details(codec, key=thumbnail.file_key, content_type=thumbnail.content_type),
        thumbnail.size_bytes,
        thumbnail.created_ts,
        VARIANTS_MAX,
    )
    if not is_new:
        await doom_object(tx, thumbnail.object_name, now=thumbnail.created_ts)
    return bool(is_new)


REMOVE_OLDEST_THUMBNAILS = """
WITH oldest AS (
    SELECT server_name, media_id, variant, size_bytes, created_ts FROM thumbnails
    ORDER BY created_ts LIMIT $2 FOR UPDATE SKIP LOCKED
), counted AS (
    SELECT server_name, media_id, variant,
        sum(size_bytes) OVER (ORDER BY created_ts, server_name, media_id, variant) - size_bytes AS size_bytes_before
    FROM oldest
), gone AS (
    DELETE FROM thumbnails AS t USING counted AS c
    WHERE t.server_name = c.server_name AND t.media_id = c.media_id AND t.variant = c.variant
      AND c.size_bytes_before < (SELECT sum(size_bytes) FROM thumbnails) - $1
    RETURNING t.object_name
), doomed AS (
    INSERT INTO media_leftovers (object_name, due_ts, is_doomed) SELECT object_name, $3, true FROM gone
)
SELECT count(*) FROM gone
"""


async def remove_oldest_thumbnails(tx: Connection, kept_bytes_max: int, *, limit: int, due_ts: int) -> int:
    """Remove those that were made first, as far as all take more than this; how many. Their bytes are left over from
    `due_ts` on."""
    return int(await tx.fetchval(REMOVE_OLDEST_THUMBNAILS, kept_bytes_max, limit, due_ts))


REMOVE_ORPHANS = """
WITH gone AS (
    DELETE FROM thumbnails AS t
    WHERE NOT EXISTS (SELECT FROM media AS m WHERE m.server_name = t.server_name AND m.media_id = t.media_id)
    RETURNING t.object_name
)
INSERT INTO media_leftovers (object_name, due_ts, is_doomed) SELECT object_name, $1, true FROM gone
"""


async def remove_orphans(tx: Connection, *, due_ts: int) -> None:
    """Remove thumbnails of media that are gone: the one may have been made while the other was removed."""
    await tx.execute(REMOVE_ORPHANS, due_ts)
