"""Media: files that users have uploaded, and copies of those of other servers. Not derived from the event log.

The bytes lie in the media store, under `object_name`. An object is noted in `media_leftovers` before it is written; the
commit that makes its row here takes the note away. So whatever happens in between, what nobody refers to is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="media",
        owner="services.media",
        bound="media.files_per_user_max, media.quota_bytes_per_user and media.quota_bytes for uploads, "
        "media.remote_lifetime_s and media.remote_kept_bytes_max for copies of other servers' files",
        reaper="services.media.expire, services.media.expire_uploads, services.media.delete, "
        "services.url_previews.expire for pictures of web pages",
    ),
    TableContract(
        name="media_leftovers",
        owner="services.media",
        bound="uploads of the last hours, and files removed in the last minutes",
        reaper="services.media.reap",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """A file. `user_id` is who uploaded it, None for a copy of another server's. `file_name` is what it was called.
    `fingerprint`, which takes a key, is the same for the same bytes. `is_quarantined`: it, or
    a file of the same bytes, is withdrawn."""

    server_name: ServerName
    media_id: MediaId
    user_id: UserId | None
    object_name: str
    file_key: bytes
    content_type: str
    file_name: str | None
    size_bytes: int
    fingerprint: bytes
    created_ts: int
    last_access_ts: int
    is_quarantined: bool = False


class Details(msgspec.Struct, omit_defaults=True):
    """What is sealed of a file: its key, its content type, its name."""

    key: bytes
    type: str
    name: str | None = None


def encode_details(codec: Codec, *, key: bytes, content_type: str, file_name: str | None = None) -> bytes:
    """The column `details`."""
    return codec.encode(msgspec.json.encode(Details(key=key, type=content_type, name=file_name)))


def decode_details(codec: Codec, stored: bytes) -> Details:
    """What `encode_details` was given."""
    return msgspec.json.decode(codec.decode(stored), type=Details)


NOTE_OBJECT = "INSERT INTO media_leftovers (object_name, due_ts) VALUES ($1, $2)"


async def note_object(tx: Connection, object_name: str, *, due_ts: int) -> None:
    """Note an object that is about to be written, and from when on it is left over."""
    await tx.execute(NOTE_OBJECT, object_name, due_ts)


TAKE_OBJECT = "DELETE FROM media_leftovers WHERE object_name = $1 AND NOT is_doomed RETURNING true"


async def take_object(tx: Connection, object_name: str) -> bool:
    """A noted object is left over no more: it becomes a file. False where it took so long that it counts as left over
    already."""
    return bool(await tx.fetchval(TAKE_OBJECT, object_name))


DOOM_OBJECT = """
INSERT INTO media_leftovers (object_name, due_ts, is_doomed) VALUES ($1, $2, true)
ON CONFLICT (object_name) DO UPDATE SET due_ts = $2, is_doomed = true
"""


async def doom_object(tx: Connection, object_name: str, *, now: int) -> None:
    """Have an object removed that is no file, or is one no more."""
    await tx.execute(DOOM_OBJECT, object_name, now)


INSERT_MEDIUM = """
INSERT INTO media
    (server_name, media_id, user_id, object_name, details, size_bytes, fingerprint, created_ts, last_access_ts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (server_name, media_id) DO NOTHING RETURNING true
"""


async def insert_medium(tx: Connection, codec: Codec, medium: Medium) -> bool:
    """Make a noted object the file of a medium. False where there is such a medium already, or the object took so long
    that it counts as left over; either way it is removed then."""
    is_new = await take_object(tx, medium.object_name) and await _insert(tx, codec, medium)
    if not is_new:
        await doom_object(tx, medium.object_name, now=medium.created_ts)
    return is_new


async def _insert(tx: Connection, codec: Codec, medium: Medium) -> bool:
    is_new = await tx.fetchval(
        INSERT_MEDIUM,
        medium.server_name,
        medium.media_id,
        medium.user_id,
        medium.object_name,
        encode_details(codec, key=medium.file_key, content_type=medium.content_type, file_name=medium.file_name),
        medium.size_bytes,
        medium.fingerprint,
        medium.created_ts,
    )
    return bool(is_new)


FIND_MEDIUM = """
SELECT user_id, object_name, details, size_bytes, fingerprint, created_ts, last_access_ts,
    EXISTS (
        SELECT FROM quarantined_media AS q
        WHERE (q.server_name = lower($1) AND q.media_id = $2) OR q.fingerprint = media.fingerprint
    ) AS is_quarantined
FROM media WHERE server_name = $1 AND media_id = $2
"""


async def find_medium(tx: Connection, codec: Codec, server_name: ServerName, media_id: MediaId) -> Medium | None:
    """The medium, if it is here."""
    row = await tx.fetchrow(FIND_MEDIUM, server_name, media_id)
    return None if row is None else medium_of(row, codec, server_name, media_id)


def medium_of(row: Any, codec: Codec, server_name: ServerName, media_id: MediaId) -> Medium:
    """The medium in a row that has all of the other columns, and whether it is withdrawn."""
    details = decode_details(codec, row["details"])
    return Medium(
        server_name=server_name,
        media_id=media_id,
        user_id=None if row["user_id"] is None else UserId(row["user_id"]),
        object_name=row["object_name"],
        file_key=details.key,
        content_type=details.type,
        file_name=details.name,
        size_bytes=row["size_bytes"],
        fingerprint=row["fingerprint"],
        created_ts=row["created_ts"],
        last_access_ts=row["last_access_ts"],
        is_quarantined=row["is_quarantined"],
    )


UPLOADS_NEWEST_FIRST = """
SELECT server_name, media_id, user_id, object_name, details, size_bytes, fingerprint, created_ts, last_access_ts,
    EXISTS (
        SELECT FROM quarantined_media AS q
        WHERE (q.server_name = lower(media.server_name) AND q.media_id = media.media_id)
           OR q.fingerprint = media.fingerprint
    ) AS is_quarantined
FROM media WHERE user_id = $1 ORDER BY created_ts DESC, media_id DESC OFFSET $2 LIMIT $3
"""
UPLOADS_OLDEST_FIRST = """
SELECT server_name, media_id, user_id, object_name, details, size_bytes, fingerprint, created_ts, last_access_ts,
    EXISTS (
        SELECT FROM quarantined_media AS q
        WHERE (q.server_name = lower(media.server_name) AND q.media_id = media.media_id)
           OR q.fingerprint = media.fingerprint
    ) AS is_quarantined
FROM media WHERE user_id = $1 ORDER BY created_ts, media_id OFFSET $2 LIMIT $3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadsRange:
    """Which page of a user's uploads."""

    limit: int
    offset: int = 0
    newest_first: bool = True


async def list_uploads(tx: Connection, codec: Codec, user_id: UserId, within: UploadsRange) -> list[Medium]:
    """A page of what a user has uploaded, in the order in which it came, or the other way round."""
    sql = UPLOADS_NEWEST_FIRST if within.newest_first else UPLOADS_OLDEST_FIRST
    return [
        medium_of(row, codec, ServerName(row["server_name"]), MediaId(row["media_id"]))
        for row in await tx.fetch(sql, user_id, within.offset, within.limit)
    ]


KNOWS_MEDIUM = "SELECT EXISTS (SELECT FROM media WHERE server_name = $1 AND media_id = $2)"


async def knows_medium(tx: Connection, server_name: ServerName, media_id: MediaId) -> bool:
    """Whether the medium is here."""
    return bool(await tx.fetchval(KNOWS_MEDIUM, server_name, media_id))


TOUCH_MEDIUM = """
UPDATE media SET last_access_ts = $3 WHERE (server_name, media_id) IN (
    SELECT server_name, media_id FROM media
    WHERE server_name = $1 AND media_id = $2 AND last_access_ts < $3 FOR UPDATE SKIP LOCKED
)
"""


async def touch_medium(tx: Connection, server_name: ServerName, media_id: MediaId, *, now: int) -> None:
    """Note that somebody looks at it; not while it is being removed, for which the clock must not wait."""
    await tx.execute(TOUCH_MEDIUM, server_name, media_id, now)


SUM_ALL_UPLOADS = "SELECT coalesce(sum(size_bytes), 0)::bigint FROM media WHERE user_id IS NOT NULL"


async def sum_all_uploads(tx: Connection) -> int:
    """How many bytes all users have uploaded that are still here."""
    return int(await tx.fetchval(SUM_ALL_UPLOADS))


SUM_COPIES = "SELECT coalesce(sum(size_bytes), 0)::bigint FROM media WHERE user_id IS NULL"


async def sum_copies(tx: Connection) -> int:
    """How many bytes the copies of other servers' files have."""
    return int(await tx.fetchval(SUM_COPIES))


SUM_UPLOADS = """
SELECT count(*) AS files, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM media WHERE user_id = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """How many files a user has uploaded that are still here, and how large they are together."""

    files: int
    size_bytes: int


async def sum_uploads(tx: Connection, user_id: UserId) -> Uploads:
    """All that a user has uploaded."""
    row = await tx.fetchrow(SUM_UPLOADS, user_id)
    assert row is not None, "a sum is one row"
    return Uploads(files=row["files"], size_bytes=row["size_bytes"])


DOOM_LEFTOVERS = """
UPDATE media_leftovers SET is_doomed = true, due_ts = $2 WHERE object_name IN (
    SELECT object_name FROM media_leftovers WHERE due_ts <= $1 ORDER BY due_ts LIMIT $3 FOR UPDATE SKIP LOCKED
) RETURNING object_name
"""


async def doom_leftovers(tx: Connection, *, now: int, again_ts: int, limit: int) -> list[str]:
    """Objects that are left over: from now on nobody can make them the file of a medium. Those that are not forgotten
    meanwhile are due again at `again_ts`."""
    return [row["object_name"] for row in await tx.fetch(DOOM_LEFTOVERS, now, again_ts, limit)]


FORGET_OBJECTS = "DELETE FROM media_leftovers WHERE object_name = ANY($1::text[])"


async def forget_objects(tx: Connection, object_names: Sequence[str]) -> None:
    """These objects are removed."""
    await tx.execute(FORGET_OBJECTS, object_names)
