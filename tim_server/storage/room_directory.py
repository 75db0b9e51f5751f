"""Names of rooms on this server: aliases, and the rooms that the public directory lists. Not derived from the log.

Those of a new room are written with it, before the clock is taken, because a taken alias must stop the commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import RoomAlias, RoomId, UserId
from tim_server.storage.database import Connection
from tim_server.storage.room_commit_records import RoomCommit
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="room_aliases",
        owner="services.rooms.aliases",
        bound="one row an alias",
        reaper="whoever may delete the alias, room purge",
    ),
    TableContract(
        name="published_rooms", owner="services.rooms.publish", bound="one row a listed room", reaper="room purge"
    ),
)

INSERT_ALIASES = """
INSERT INTO room_aliases (alias, room_nid, creator)
SELECT new.alias, new.room_nid, new.creator
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS new (alias, room_nid, creator) ORDER BY new.alias
ON CONFLICT DO NOTHING RETURNING room_nid
"""
PUBLISH_ROOMS = "INSERT INTO published_rooms (room_nid) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING"


MOVE_NAMES = """
WITH moved AS (UPDATE room_aliases SET room_nid = $2 WHERE room_nid = $1)
UPDATE published_rooms SET room_nid = $2 WHERE room_nid = $1
"""


async def write_names(tx: Connection, commits: Sequence[RoomCommit]) -> list[RoomCommit]:
    """Write aliases and listings of new rooms, and move those of rooms that are replaced; commits of which an alias is
    taken: nothing may be written then."""
    for commit in commits:
        if commit.replacement is not None:  # seldom, and hardly ever two at once
            await tx.execute(MOVE_NAMES, commit.room_nid, commit.replacement.room_nid)
    aliases = [(alias, commit) for commit in commits for alias in commit.aliases]
    published = [commit.room_nid for commit in commits if commit.is_published]
    if published:
        await tx.execute(PUBLISH_ROOMS, published)
    if not aliases:
        return []
    inserted = await tx.fetch(
        INSERT_ALIASES,
        [alias for alias, _ in aliases],
        [commit.room_nid for _, commit in aliases],
        [commit.creator for _, commit in aliases],
    )
    fresh = {row["room_nid"] for row in inserted}
    return [commit for _, commit in aliases if commit.room_nid not in fresh]


FIND_ALIAS = """
SELECT a.room_nid, r.room_id, a.creator FROM room_aliases AS a JOIN rooms AS r ON r.nid = a.room_nid WHERE a.alias = $1
"""


async def find_alias(tx: Connection, alias: RoomAlias) -> tuple[int, RoomId, UserId] | None:
    """Nid and id of the room that the alias points to, and who made it; None where there is no such alias."""
    row = await tx.fetchrow(FIND_ALIAS, alias)
    return None if row is None else (row["room_nid"], RoomId(row["room_id"]), UserId(row["creator"]))


LOAD_ALIASES_OF_ROOM = "SELECT alias FROM room_aliases WHERE room_nid = $1 ORDER BY alias"


async def load_aliases_of_room(tx: Connection, room_nid: int) -> list[RoomAlias]:
    """All aliases of the room on this server."""
    return [RoomAlias(row["alias"]) for row in await tx.fetch(LOAD_ALIASES_OF_ROOM, room_nid)]


LOAD_ALIASES = """
SELECT a.alias, r.room_id FROM room_aliases AS a JOIN rooms AS r ON r.nid = a.room_nid WHERE a.alias = ANY($1)
"""


async def load_aliases(tx: Connection, aliases: Sequence[str]) -> dict[str, RoomId]:
    """The rooms that these aliases point to; unknown ones are left out."""
    return {row["alias"]: RoomId(row["room_id"]) for row in await tx.fetch(LOAD_ALIASES, aliases)}


INSERT_ALIAS = """
INSERT INTO room_aliases (alias, room_nid, creator) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING alias
"""


async def insert_alias(tx: Connection, alias: RoomAlias, room_nid: int, creator: UserId) -> bool:
    """Point a new alias to a room; False where it is taken."""
    return await tx.fetchval(INSERT_ALIAS, alias, room_nid, creator) is not None


DELETE_ALIAS = "DELETE FROM room_aliases WHERE alias = $1 AND room_nid = $2"


async def delete_alias(tx: Connection, alias: RoomAlias, room_nid: int) -> None:
    """Remove an alias, if it still points to this room."""
    await tx.execute(DELETE_ALIAS, alias, room_nid)


TAKE_NAMES = """
WITH unlisted AS (DELETE FROM published_rooms WHERE room_nid = $1)
DELETE FROM room_aliases WHERE room_nid = $1 RETURNING alias
"""


async def take_names(tx: Connection, room_nid: int) -> list[RoomAlias]:
    """Remove all aliases of the room, which these were, and take it out of the public directory."""
    return sorted(RoomAlias(row["alias"]) for row in await tx.fetch(TAKE_NAMES, room_nid))


IS_PUBLISHED = "SELECT EXISTS (SELECT FROM published_rooms WHERE room_nid = $1)"


async def is_published(tx: Connection, room_nid: int) -> bool:
    """Whether the public directory lists the room."""
    listed: bool = await tx.fetchval(IS_PUBLISHED, room_nid)
    return listed


FIND_PUBLISHED = """
SELECT r.room_id FROM published_rooms AS p JOIN rooms AS r ON r.nid = p.room_nid WHERE r.room_id = ANY($1)
"""


async def find_published(tx: Connection, room_ids: Sequence[str]) -> set[RoomId]:
    """Those of the rooms that the public directory lists."""
    return {RoomId(row["room_id"]) for row in await tx.fetch(FIND_PUBLISHED, room_ids)}


UNPUBLISH_ROOM = "DELETE FROM published_rooms WHERE room_nid = $1"


async def set_published(tx: Connection, room_nid: int, *, published: bool) -> None:
    """List the room in the public directory, or take it out."""
    if published:
        await tx.execute(PUBLISH_ROOMS, [room_nid])
    else:
        await tx.execute(UNPUBLISH_ROOM, room_nid)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRoom:
    """A room that the public directory lists, and how many members are joined to it."""

    nid: int
    room_id: RoomId
    room_version: str
    joined: int


LOAD_LISTED_ROOMS = """
SELECT p.room_nid, r.room_id, r.room_version, p.joined
FROM (
    SELECT listed.room_nid, count(*) AS joined
    FROM (SELECT room_nid FROM published_rooms ORDER BY room_nid DESC LIMIT $1) AS listed
    JOIN memberships AS m ON m.room_nid = listed.room_nid AND m.membership = 'join'
    GROUP BY listed.room_nid
) AS p
JOIN rooms AS r ON r.nid = p.room_nid
ORDER BY p.joined DESC, p.room_nid
"""


async def load_listed_rooms(tx: Connection, *, limit: int) -> list[ListedRoom]:
    """The rooms in the public directory that anybody is joined to, those with most members first; of more than `limit`
    the newest."""
    return [
        ListedRoom(
            nid=row["room_nid"], room_id=RoomId(row["room_id"]), room_version=row["room_version"], joined=row["joined"]
        )
        for row in await tx.fetch(LOAD_LISTED_ROOMS, limit)
    ]
