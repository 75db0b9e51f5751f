"""Objects of the media store, and what refers to them: media, their thumbnails, and notes of those that are being
written or removed. Owns no table.

Each object is noted before it is written and until one commit makes it a file. So of an object that lies in the store a
statement that begins later finds a note or a file, unless nothing refers to it any more, for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import MediaId, ServerName
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.media import decode_details


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferredObject:
    """An object that a medium has, or a thumbnail of it, where `variant` is given. `is_upload`: a user of this server
    has uploaded the medium. `details` are sealed."""

    object_name: str
    server_name: ServerName
    media_id: MediaId
    variant: str | None
    is_upload: bool
    size_bytes: int
    details: bytes


MEDIA_OBJECTS = """
SELECT object_name, server_name, media_id, NULL::text AS variant, user_id IS NOT NULL AS is_upload, size_bytes, details
FROM media WHERE object_name > $1 AND object_name < $2 ORDER BY object_name LIMIT $3
"""
THUMBNAIL_OBJECTS = """
SELECT object_name, server_name, media_id, variant, false AS is_upload, size_bytes, details
FROM thumbnails WHERE object_name > $1 AND object_name < $2 ORDER BY object_name LIMIT $3
"""


async def media_objects(tx: Connection, *, after: str, before: str, limit: int) -> list[ReferredObject]:
    """Objects of media whose names are between these, in the order of names."""
    return [_referred(row) for row in await tx.fetch(MEDIA_OBJECTS, after, before, limit)]


async def thumbnail_objects(tx: Connection, *, after: str, before: str, limit: int) -> list[ReferredObject]:
    """Objects of thumbnails whose names are between these, in the order of names."""
    return [_referred(row) for row in await tx.fetch(THUMBNAIL_OBJECTS, after, before, limit)]


def key_of(codec: Codec, referred: ReferredObject) -> bytes:
    """The key that the object is sealed with; raises `SealedContentUnreadable`."""
    return decode_details(codec, referred.details).key


FILES_AMONG = """
SELECT name FROM unnest($1::text[]) AS given (name)
WHERE EXISTS (SELECT FROM media WHERE object_name = name) OR EXISTS (SELECT FROM thumbnails WHERE object_name = name)
"""


async def files_among(tx: Connection, object_names: Sequence[str]) -> set[str]:
    """Which of these objects media have, or thumbnails."""
    return {row["name"] for row in await tx.fetch(FILES_AMONG, object_names)}


UNKNOWN_AMONG = """
SELECT name FROM unnest($1::text[]) AS given (name)
WHERE NOT EXISTS (SELECT FROM media WHERE object_name = name)
  AND NOT EXISTS (SELECT FROM thumbnails WHERE object_name = name)
  AND NOT EXISTS (SELECT FROM media_leftovers WHERE object_name = name)
"""


async def unknown_among(tx: Connection, object_names: Sequence[str]) -> set[str]:
    """Which of these objects, that were seen in the store before this, nothing refers to, nor ever will."""
    return {row["name"] for row in await tx.fetch(UNKNOWN_AMONG, object_names)}


DOOM_UNKNOWN = """
INSERT INTO media_leftovers (object_name, due_ts, is_doomed)
SELECT name, $2, true FROM unnest($1::text[]) AS given (name)
WHERE NOT EXISTS (SELECT FROM media WHERE object_name = name)
  AND NOT EXISTS (SELECT FROM thumbnails WHERE object_name = name)
  AND NOT EXISTS (SELECT FROM media_leftovers WHERE object_name = name)
ON CONFLICT (object_name) DO NOTHING RETURNING object_name
"""


async def doom_unknown(tx: Connection, object_names: Sequence[str], *, now: int) -> list[str]:
    """Have those removed of these objects, that were seen in the store before this, that nothing refers to; which. One
    that is becoming a file is noted still and left out by that: a conflict alone would wait until the note is gone."""
    return [row["object_name"] for row in await tx.fetch(DOOM_UNKNOWN, object_names, now)]


FORGET_THUMBNAILS = """
WITH gone AS (DELETE FROM thumbnails WHERE object_name = ANY($1::text[]) RETURNING object_name)
INSERT INTO media_leftovers (object_name, due_ts, is_doomed) SELECT object_name, $2, true FROM gone
"""


async def forget_thumbnails(tx: Connection, object_names: Sequence[str], *, now: int) -> None:
    """Remove the thumbnails that have these objects; they are made anew when somebody asks for them."""
    await tx.execute(FORGET_THUMBNAILS, object_names, now)


def _referred(row: Any) -> ReferredObject:
    return ReferredObject(
        object_name=row["object_name"],
        server_name=ServerName(row["server_name"]),
        media_id=MediaId(row["media_id"]),
        variant=row["variant"],
        is_upload=row["is_upload"],
        size_bytes=row["size_bytes"],
        details=row["details"],
    )
