"""Which files events of deleted rooms refer to, and the search for anything else that does. Not derived.

A file is noted when an event that names it is removed; what refers to it elsewhere takes the note away. Files that are
still noted at the end of a search are removed. References are sealed with what they stand in, so that all of it has to
be read once: pages of events, and of what else holds content.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tim_server.matrix.identifiers import MediaId, RoomId, ServerName, UserId
from tim_server.matrix.media_references import MediaName
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="media_of_deleted_rooms",
        owner="services.media.unreferenced",
        bound="one row a file that a room which is being deleted referred to",
        reaper="services.media.unreferenced, once it is known whether anything else refers to it",
    ),
    TableContract(
        name="media_searches",
        owner="services.media.unreferenced",
        bound="one row, while files are sought",
        reaper="services.media.unreferenced, at the end of the search",
    ),
)

NOTE_MEDIA = """
INSERT INTO media_of_deleted_rooms (server_name, media_id, deletion_nid)
SELECT DISTINCT m.server_name, m.media_id, $1::bigint
FROM unnest($2::text[], $3::text[], $4::text[]) AS named (server_name, media_id, sender)
JOIN media AS m ON m.server_name = named.server_name AND m.media_id = named.media_id
WHERE coalesce(m.user_id, named.sender) = named.sender
  AND NOT EXISTS (SELECT FROM url_preview_images AS i WHERE i.media_id = m.media_id)
ON CONFLICT (server_name, media_id) DO UPDATE SET deletion_nid = excluded.deletion_nid, is_sought = false
"""


class NamedBy(NamedTuple):
    """A file, and who sent an event that names it."""

    server_name: str
    media_id: str
    sender: UserId


async def note_media(tx: Connection, deletion_nid: int, named: Iterable[NamedBy]) -> None:
    """Note those of these files that are here: copies, and uploads that their own uploader named, or else whoever knows
    of a file could have it removed that only encrypted events refer to. One that is sought already is sought once more:
    what referred to it may just have been removed. Pictures in previews of web pages go with those."""
    wanted = sorted(set(named))
    if wanted:
        await tx.execute(
            NOTE_MEDIA,
            deletion_nid,
            [each.server_name for each in wanted],
            [each.media_id for each in wanted],
            [each.sender for each in wanted],
        )


HAS_NOTED = "SELECT EXISTS (SELECT FROM media_of_deleted_rooms WHERE deletion_nid = $1)"


async def has_noted(tx: Connection, deletion_nid: int) -> bool:
    """Whether it is not known yet of all files whether anything else refers to them."""
    noted: bool = await tx.fetchval(HAS_NOTED, deletion_nid)
    return noted


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSearch:
    """How far the search is: behind the key `after` in a source, and up to a position of the clock."""

    source: str
    after: Sequence[str]
    position: int


FIND_SEARCH = "SELECT source, after, position FROM media_searches"


async def find_search(tx: Connection) -> MediaSearch | None:
    """The search that goes on; None where there is none."""
    row = await tx.fetchrow(FIND_SEARCH)
    return None if row is None else MediaSearch(source=row["source"], after=row["after"], position=row["position"])


SEEK = """
UPDATE media_of_deleted_rooms SET is_sought = true WHERE ctid = ANY(ARRAY(
    SELECT m.ctid FROM media_of_deleted_rooms AS m JOIN room_deletions AS d ON d.nid = m.deletion_nid
    WHERE NOT m.is_sought AND d.status = 'sifting' ORDER BY m.deletion_nid LIMIT $1
))
"""
PUT_SEARCH = """
INSERT INTO media_searches (source, after, position) VALUES ($1, $2, $3)
ON CONFLICT (singleton) DO UPDATE SET source = excluded.source, after = excluded.after, position = excluded.position
"""
END_SEARCH = "DELETE FROM media_searches"


async def begin_search(tx: Connection, search: MediaSearch, *, limit: int) -> bool:
    """Seek the first `limit` files that are noted of rooms whose events are gone; False where there are none."""
    status: str = await tx.execute(SEEK, limit)
    if status.endswith(" 0"):
        return False
    await put_search(tx, search)
    return True


async def put_search(tx: Connection, search: MediaSearch) -> None:
    """The search is this far."""
    await tx.execute(PUT_SEARCH, search.source, search.after, search.position)


async def end_search(tx: Connection) -> None:
    """There is no search any more."""
    await tx.execute(END_SEARCH)


LOAD_SOUGHT = "SELECT server_name, media_id FROM media_of_deleted_rooms WHERE is_sought"


async def load_sought(tx: Connection) -> list[MediaName]:
    """The files that are sought, as many as were begun with at most."""
    return [(row["server_name"], row["media_id"]) for row in await tx.fetch(LOAD_SOUGHT)]


DELETE_USED = """
DELETE FROM media_of_deleted_rooms AS m USING unnest($1::text[], $2::text[]) AS used (server_name, media_id)
WHERE m.server_name = used.server_name AND m.media_id = used.media_id AND m.is_sought
"""


async def delete_used(tx: Connection, names: Iterable[MediaName]) -> None:
    """Something refers to these files, which stay."""
    used = list(names)
    if used:
        await tx.execute(DELETE_USED, [name for name, _ in used], [media_id for _, media_id in used])


COUNT_SIFTED = "UPDATE room_deletions SET sifted_events = sifted_events + $1 WHERE status = 'sifting'"


async def count_sifted(tx: Connection, events: int) -> None:
    """So many events more have been looked through."""
    await tx.execute(COUNT_SIFTED, events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreferenced:
    """A file that nothing refers to any more, and the deletion of the room in which something did."""

    server_name: ServerName
    media_id: MediaId
    deletion_nid: int
    room_id: RoomId
    requested_by: UserId
    is_first: bool


TAKE_UNREFERENCED = """
WITH taken AS (
    DELETE FROM media_of_deleted_rooms WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM media_of_deleted_rooms WHERE is_sought ORDER BY deletion_nid LIMIT $1
    )) RETURNING server_name, media_id, deletion_nid
), counted AS (
    UPDATE room_deletions AS d SET files_deleted = d.files_deleted + c.files
    FROM (SELECT deletion_nid, count(*) AS files FROM taken GROUP BY deletion_nid) AS c WHERE d.nid = c.deletion_nid
)
SELECT t.server_name, t.media_id, t.deletion_nid, d.room_id, d.requested_by, d.files_deleted = 0 AS is_first
FROM taken AS t JOIN room_deletions AS d ON d.nid = t.deletion_nid
"""


async def take_unreferenced(tx: Connection, *, limit: int) -> list[Unreferenced]:
    """Some of the files that were sought in vain, which count as deleted from now on."""
    return [
        Unreferenced(
            server_name=ServerName(row["server_name"]),
            media_id=MediaId(row["media_id"]),
            deletion_nid=row["deletion_nid"],
            room_id=RoomId(row["room_id"]),
            requested_by=UserId(row["requested_by"]),
            is_first=row["is_first"],
        )
        for row in await tx.fetch(TAKE_UNREFERENCED, limit)
    ]


PAGE_OF_EVENTS = "SELECT nid, body FROM events WHERE nid > $1 ORDER BY nid LIMIT $2"
PAGE_OF_PROFILES = """
SELECT user_id, field, value FROM profiles WHERE (user_id, field) > ($1, $2) ORDER BY user_id, field LIMIT $3
"""
PAGE_OF_ACCOUNT_DATA = """
SELECT user_id, room_id, type, content FROM account_data
WHERE (user_id, room_id, type) > ($1, $2, $3) ORDER BY user_id, room_id, type LIMIT $4
"""
PAGE_OF_WAITING = "SELECT number, pdu FROM waiting_pdus WHERE number > $1 ORDER BY number LIMIT $2"
PAGE_OF_OUTSIDE = """
SELECT room_nid, user_id, body, stripped_state FROM outside_memberships
WHERE (room_nid, user_id) > ($1, $2) ORDER BY room_nid, user_id LIMIT $3
"""
NID_MIN = str(-(2**63))
SOURCES = {
    "events": (NID_MIN,),
    "profiles": ("", ""),
    "account_data": ("", "", ""),
    "waiting": (NID_MIN,),
    "outside": (NID_MIN, ""),
}
"""What may refer to files, in the order in which it is looked through, and the key before the first of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPage:
    """Sealed contents, and the key of the last of them: None where there are no more."""

    contents: Sequence[bytes]
    after: Sequence[str] | None


async def load_page(tx: Connection, source: str, after: Sequence[str], *, limit: int) -> ContentPage:
    """What comes after a key in a source."""
    if source == "events":
        rows: Sequence[Any] = await tx.fetch(PAGE_OF_EVENTS, int(after[0]), limit)
    elif source == "profiles":
        rows = await tx.fetch(PAGE_OF_PROFILES, *after, limit)
    elif source == "account_data":
        rows = await tx.fetch(PAGE_OF_ACCOUNT_DATA, *after, limit)
    elif source == "waiting":
        rows = await tx.fetch(PAGE_OF_WAITING, int(after[0]), limit)
    else:
        rows = await tx.fetch(PAGE_OF_OUTSIDE, int(after[0]), after[1], limit)
    key_length = len(SOURCES[source])
    contents = [value for row in rows for value in tuple(row)[key_length:] if value is not None]
    last = [str(part) for part in tuple(rows[-1])[:key_length]] if rows else None
    return ContentPage(contents=contents, after=last)
