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
        bound="media that are images, up to 30 for each",
        reaper="whoever removes the medium",
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
