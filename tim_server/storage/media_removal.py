"""Which media go, and their removal with all that was made of them. Owns no table.

Those who remove choose some in the transaction that removes them, so that several processes don't remove twice what is
enough to go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.storage.database import Connection


@dataclass(frozen=True, slots=True)
class MediumName:
    """A medium, and what it takes."""

    server_name: ServerName
    media_id: MediaId
    size_bytes: int


OLDEST_COPIES = """
SELECT server_name, media_id, size_bytes FROM media WHERE user_id IS NULL AND last_access_ts < $1
ORDER BY last_access_ts LIMIT $2 FOR UPDATE
"""


async def oldest_copies(tx: Connection, *, before: int, limit: int) -> list[MediumName]:
    """Copies of other servers' files that were last looked at before this time, those of long ago first."""
    return _names(await tx.fetch(OLDEST_COPIES, before, limit))


OLDEST_UPLOADS = """
SELECT server_name, media_id, size_bytes FROM media
WHERE user_id IS NOT NULL AND last_access_ts < $1 AND size_bytes >= $2
ORDER BY last_access_ts LIMIT $3 FOR UPDATE
"""


async def oldest_uploads(tx: Connection, *, before: int, size_bytes_min: int = 0, limit: int) -> list[MediumName]:
    """Uploads of this size that were last looked at before this time, those of long ago first."""
    return _names(await tx.fetch(OLDEST_UPLOADS, before, size_bytes_min, limit))


UPLOADS_OF_USER = """
SELECT server_name, media_id, size_bytes FROM media WHERE user_id = $1 ORDER BY created_ts LIMIT $2 FOR UPDATE
"""


async def uploads_of_user(tx: Connection, user_id: UserId, *, limit: int) -> list[MediumName]:
    """What a user has uploaded, the oldest first."""
    return _names(await tx.fetch(UPLOADS_OF_USER, user_id, limit))


TOUCH_MEDIA = """
UPDATE media SET last_access_ts = $3 FROM unnest($1::text[], $2::text[]) AS kept (server_name, media_id)
WHERE media.server_name = kept.server_name AND media.media_id = kept.media_id
"""


async def touch_media(tx: Connection, media: Sequence[MediumName], *, now: int) -> None:
    """Have these media count as looked at."""
    await tx.execute(TOUCH_MEDIA, [each.server_name for each in media], [each.media_id for each in media], now)


REMOVE_MEDIA = """
WITH gone AS (
    DELETE FROM media AS m USING unnest($1::text[], $2::text[]) AS unwanted (server_name, media_id)
    WHERE m.server_name = unwanted.server_name AND m.media_id = unwanted.media_id
    RETURNING m.server_name, m.media_id, m.size_bytes, m.object_name
), smaller AS (
    DELETE FROM thumbnails AS t USING gone AS g
    WHERE t.server_name = g.server_name AND t.media_id = g.media_id RETURNING t.object_name
), doomed AS (
    INSERT INTO media_leftovers (object_name, due_ts, is_doomed)
    SELECT object_name, $3, true FROM (SELECT object_name FROM gone UNION ALL SELECT object_name FROM smaller) AS each
)
SELECT server_name, media_id, size_bytes FROM gone
"""


async def remove_media(tx: Connection, names: Sequence[tuple[ServerName, MediaId]], *, due_ts: int) -> list[MediumName]:
    """Remove media and their thumbnails; those that were there, in this order. Bytes are left over from `due_ts` on."""
    servers, media_ids = [server_name for server_name, _ in names], [media_id for _, media_id in names]
    gone = {
        (each.server_name, each.media_id): each
        for each in _names(await tx.fetch(REMOVE_MEDIA, servers, media_ids, due_ts))
    }
    return [gone[name] for name in names if name in gone]


def _names(rows: Sequence[Any]) -> list[MediumName]:
    return [MediumName(ServerName(row["server_name"]), MediaId(row["media_id"]), row["size_bytes"]) for row in rows]
