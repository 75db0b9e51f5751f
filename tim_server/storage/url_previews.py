"""Previews of web pages, and the pictures that belong to them, which are media. Not derived from the event log."""

from dataclasses import dataclass

from tim_server.matrix.identifiers import MediaId, ServerName
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="url_previews",
        owner="services.url_previews",
        bound="url_previews.kept_max",
        reaper="services.url_previews.expire",
    ),
    TableContract(
        name="url_preview_images",
        owner="services.url_previews",
        bound="one for each preview that is kept, and those of the last minutes",
        reaper="services.url_previews.expire",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPreview:
    """A preview: the JSON of the answer, and the picture in it. `address_hash` is the codec's fingerprint."""

    address_hash: bytes
    answer: bytes
    media_id: MediaId | None
    expires_ts: int


FIND_PREVIEW = """
SELECT answer FROM url_previews AS p WHERE address_hash = $1 AND expires_ts > $2
  AND (media_id IS NULL OR EXISTS (SELECT FROM media AS m WHERE m.server_name = $3 AND m.media_id = p.media_id))
"""


async def find_preview(
    tx: Connection, codec: Codec, server_name: ServerName, address_hash: bytes, *, now: int
) -> bytes | None:
    """The JSON of the answer, if there is one that has not expired, with its picture if it has one."""
    stored = await tx.fetchval(FIND_PREVIEW, address_hash, now, server_name)
    return None if stored is None else codec.decode(stored)


KEEP_PREVIEW = """
INSERT INTO url_previews (address_hash, answer, media_id, expires_ts) VALUES ($1, $2, $3, $4)
ON CONFLICT (address_hash) DO UPDATE SET answer = $2, media_id = $3, expires_ts = $4
"""
FORGET_OLDEST = """
WITH gone AS (
    DELETE FROM url_previews WHERE address_hash IN (
        SELECT address_hash FROM url_previews ORDER BY expires_ts DESC OFFSET $1 FOR UPDATE SKIP LOCKED
    ) RETURNING media_id
)
UPDATE url_preview_images AS i SET due_ts = least(i.due_ts, $2) FROM gone AS g WHERE i.media_id = g.media_id
"""


async def keep_preview(tx: Connection, codec: Codec, preview: StoredPreview, *, kept_max: int, due_ts: int) -> None:
    """Keep a preview, and of more than so many the newest; pictures of the others may be removed from `due_ts` on."""
    answer = codec.encode(preview.answer)
    await tx.execute(KEEP_PREVIEW, preview.address_hash, answer, preview.media_id, preview.expires_ts)
    await tx.execute(FORGET_OLDEST, kept_max, due_ts)


NOTE_IMAGE = "INSERT INTO url_preview_images (media_id, due_ts) VALUES ($1, $2)"


async def note_image(tx: Connection, media_id: MediaId, *, due_ts: int) -> None:
    """Note a picture that is about to be kept, and from when on it is to be removed."""
    await tx.execute(NOTE_IMAGE, media_id, due_ts)


FORGET_EXPIRED = "DELETE FROM url_previews WHERE expires_ts <= $1"


async def forget_expired(tx: Connection, *, now: int) -> None:
    """Remove previews that have expired."""
    await tx.execute(FORGET_EXPIRED, now)


REMOVE_DUE_IMAGES = """
WITH due AS (
    DELETE FROM url_preview_images WHERE media_id IN (
        SELECT media_id FROM url_preview_images WHERE due_ts <= $2 ORDER BY due_ts LIMIT $4 FOR UPDATE SKIP LOCKED
    ) RETURNING media_id
), gone AS (
    DELETE FROM media AS m USING due AS d WHERE m.server_name = $1 AND m.media_id = d.media_id
    RETURNING m.media_id, m.object_name
), smaller AS (
    DELETE FROM thumbnails AS t USING gone AS g WHERE t.server_name = $1 AND t.media_id = g.media_id
    RETURNING t.object_name
), doomed AS (
    INSERT INTO media_leftovers (object_name, due_ts, is_doomed)
    SELECT object_name, $3, true FROM (SELECT object_name FROM gone UNION ALL SELECT object_name FROM smaller) AS each
)
SELECT count(*) FROM due
"""


async def remove_due_images(tx: Connection, server_name: ServerName, *, now: int, due_ts: int, limit: int) -> int:
    """Remove pictures that are due; how many. Their bytes are left over from `due_ts` on."""
    return int(await tx.fetchval(REMOVE_DUE_IMAGES, server_name, now, due_ts, limit))
