"""Memberships: derived from the resolved state, for questions that begin with a user or ask for all members.

`memberships` is the newest resolved membership; `membership_history` each change, at the position where it took
effect, also where no event is new (state resets). `forgotten_rooms` holds what users asked not to see any more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.events import EVENT_COLUMNS, EventRow, read_row
from tim_server.storage.state import MembershipRow
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="memberships",
        owner="storage.room_commits",
        bound="one row a user and room",
        reaper="room purge",
        derived=True,
    ),
    TableContract(
        name="membership_history",
        owner="storage.room_commits",
        bound="one row a change of membership",
        reaper="room purge",
        derived=True,
    ),
    TableContract(
        name="forgotten_rooms",
        owner="services.rooms.forget",
        bound="one row a user and room left",
        reaper="joining again",
    ),
)

UPSERT_MEMBERSHIPS = """
INSERT INTO memberships (user_id, room_nid, membership, event_nid, position)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (user_id, room_nid) DO UPDATE
SET membership = excluded.membership, event_nid = excluded.event_nid, position = excluded.position
"""

INSERT_MEMBERSHIP_HISTORY = """
INSERT INTO membership_history (user_id, room_nid, membership, event_nid, position)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (user_id, room_nid, position) DO UPDATE
SET membership = excluded.membership, event_nid = excluded.event_nid
"""

UNFORGET = """
DELETE FROM forgotten_rooms AS f USING unnest($1::text[], $2::bigint[]) AS seen (user_id, room_nid)
WHERE f.user_id = seen.user_id AND f.room_nid = seen.room_nid
"""


async def write_memberships(tx: Connection, changes: Sequence[MembershipRow]) -> None:
    """Write what changed, the changes of a user in order; rooms that a user is in again are no longer forgotten."""
    newest = {(change.user_id, change.room_nid): change for change in changes}
    for sql, rows in ((UPSERT_MEMBERSHIPS, list(newest.values())), (INSERT_MEMBERSHIP_HISTORY, changes)):
        await tx.execute(
            sql,
            [row.user_id for row in rows],
            [row.room_nid for row in rows],
            [row.membership for row in rows],
            [row.event_nid for row in rows],
            [row.position for row in rows],
        )
    back = [row for row in newest.values() if row.membership in ("join", "invite", "knock")]
    await tx.execute(UNFORGET, [row.user_id for row in back], [row.room_nid for row in back])


COUNT_JOINED_BY_SERVER = """
SELECT server_name AS server, count(*) AS joined
FROM memberships WHERE room_nid = $1 AND membership = 'join' GROUP BY 1
"""


async def count_joined_by_server(tx: Connection, room_nid: int) -> dict[str, int]:
    """How many joined members each server has in the room."""
    return {row["server"]: row["joined"] for row in await tx.fetch(COUNT_JOINED_BY_SERVER, room_nid)}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRoom:
    """A room and a user's membership of it."""

    room_nid: int
    room_id: RoomId
    room_version: str
    membership: str
    event_nid: int
    position: int
    forgotten: bool


LOAD_ROOMS_OF_USER = """
SELECT m.room_nid, r.room_id, r.room_version, m.membership, m.event_nid, m.position, f.user_id IS NOT NULL AS forgotten
FROM memberships AS m JOIN rooms AS r ON r.nid = m.room_nid
LEFT JOIN forgotten_rooms AS f ON f.user_id = m.user_id AND f.room_nid = m.room_nid
WHERE m.user_id = $1
"""


async def load_rooms_of_user(tx: Connection, user_id: UserId) -> list[UserRoom]:
    """All rooms of which the user has a membership, left and forgotten ones included."""
    return [_user_room(row) for row in await tx.fetch(LOAD_ROOMS_OF_USER, user_id)]


LOAD_ROOM_OF_USER = """
SELECT r.nid AS room_nid, r.room_id, r.room_version, m.membership, m.event_nid, m.position,
       f.user_id IS NOT NULL AS forgotten
FROM rooms AS r JOIN memberships AS m ON m.room_nid = r.nid AND m.user_id = $2
LEFT JOIN forgotten_rooms AS f ON f.user_id = m.user_id AND f.room_nid = m.room_nid
WHERE r.room_id = $1
"""


async def load_room_of_user(tx: Connection, room_id: RoomId, user_id: UserId) -> UserRoom | None:
    """The user's membership of a room; None where the room is unknown or the user never had anything to do with it."""
    row = await tx.fetchrow(LOAD_ROOM_OF_USER, room_id, user_id)
    return None if row is None else _user_room(row)


def _user_room(row: Any) -> UserRoom:
    fields = dict(row.items())
    fields["room_id"] = RoomId(fields["room_id"])
    return UserRoom(**fields)


FIND_JOINED = "SELECT user_id FROM memberships WHERE user_id = ANY($2) AND room_nid = $1 AND membership = 'join'"


async def find_joined(tx: Connection, room_nid: int, users: Collection[str]) -> list[UserId]:
    """Those of the users who are joined to the room."""
    return [UserId(row["user_id"]) for row in await tx.fetch(FIND_JOINED, room_nid, list(users))]


FIND_ANY_JOINED = """
SELECT user_id FROM memberships
WHERE room_nid = $1 AND membership = 'join' AND server_name = $2
  AND NOT user_id = ANY($3)
LIMIT 1
"""


async def find_any_joined(
    tx: Connection, room_nid: int, server_name: ServerName, *, besides: Collection[str]
) -> UserId | None:
    """Somebody of the server who is joined to the room; None where there is nobody besides those."""
    user_id = await tx.fetchval(FIND_ANY_JOINED, room_nid, server_name, list(besides))
    return None if user_id is None else UserId(user_id)


LOAD_HISTORY_OF_USER = """
SELECT room_nid, membership, event_nid, position FROM membership_history
WHERE user_id = $1 AND room_nid = ANY($2) ORDER BY room_nid, position
"""


async def load_history_of_user(
    tx: Connection, user_id: UserId, room_nids: Sequence[int]
) -> dict[int, list[MembershipRow]]:
    """Each change of the user's membership in these rooms, oldest first, by room."""
    history: dict[int, list[MembershipRow]] = {}
    for row in await tx.fetch(LOAD_HISTORY_OF_USER, user_id, list(room_nids)):
        history.setdefault(row["room_nid"], []).append(
            MembershipRow(
                user_id=user_id,
                room_nid=row["room_nid"],
                membership=row["membership"],
                event_nid=row["event_nid"],
                position=row["position"],
            )
        )
    return history


FORGET_ROOM = """
INSERT INTO forgotten_rooms (user_id, room_nid, position)
SELECT $1, r.nid, $3 FROM rooms AS r WHERE r.room_id = $2 ON CONFLICT DO NOTHING
"""


async def forget_room(tx: Connection, user_id: UserId, room_id: RoomId, position: int) -> None:
    """Hide the room from the user until they join or are invited again."""
    await tx.execute(FORGET_ROOM, user_id, room_id, position)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomForUser:
    """A room, and what a user is to it: no membership at all, or the newest, with whether it is forgotten."""

    room_nid: int
    room_version: str
    membership: str | None
    forgotten: bool


FIND_ROOM_FOR_USER = """
SELECT r.nid AS room_nid, r.room_version, m.membership, f.user_id IS NOT NULL AS forgotten
FROM rooms AS r LEFT JOIN memberships AS m ON m.room_nid = r.nid AND m.user_id = $2
LEFT JOIN forgotten_rooms AS f ON f.user_id = $2 AND f.room_nid = r.nid
WHERE r.room_id = $1
"""


async def find_room_for_user(tx: Connection, room_id: RoomId, user_id: UserId) -> RoomForUser | None:
    """The room and what the user is to it; None where this server does not know the room."""
    row = await tx.fetchrow(FIND_ROOM_FOR_USER, room_id, user_id)
    return None if row is None else RoomForUser(**dict(row.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestInRoom:
    """A guest of this server who is joined to a room."""

    room_nid: int
    room_id: RoomId
    room_version: str
    user_id: UserId


LOAD_JOINED_GUESTS = """
SELECT m.room_nid, r.room_id, r.room_version, m.user_id
FROM users AS u JOIN memberships AS m ON m.user_id = u.user_id AND m.membership = 'join'
JOIN rooms AS r ON r.nid = m.room_nid
WHERE u.is_guest AND ($1::bigint[] IS NULL OR m.room_nid = ANY($1))
"""


async def load_joined_guests(tx: Connection, room_nids: Sequence[int] | None) -> list[GuestInRoom]:
    """The guests who are joined to these rooms; to any for None."""
    return [
        GuestInRoom(
            room_nid=row["room_nid"],
            room_id=RoomId(row["room_id"]),
            room_version=row["room_version"],
            user_id=UserId(row["user_id"]),
        )
        for row in await tx.fetch(LOAD_JOINED_GUESTS, room_nids)
    ]


LOAD_MEMBERS_AT = """
SELECT DISTINCT ON (user_id) user_id, membership, event_nid, position FROM membership_history
WHERE room_nid = $1 AND position <= $2 ORDER BY user_id, position DESC
"""
LOAD_USERS_AT = """
SELECT DISTINCT ON (user_id) user_id, membership, event_nid, position FROM membership_history
WHERE user_id = ANY($3) AND room_nid = $1 AND position <= $2 ORDER BY user_id, position DESC
"""


async def load_members_at(
    tx: Connection, room_nid: int, position: int, users: Sequence[str] | None = None
) -> list[MembershipRow]:
    """Everybody's membership of the room once the commit at `position` had its effect, or that of some users."""
    bounds = (room_nid, position)
    rows = await (tx.fetch(LOAD_MEMBERS_AT, *bounds) if users is None else tx.fetch(LOAD_USERS_AT, *bounds, users))
    return [
        MembershipRow(
            user_id=UserId(row["user_id"]),
            room_nid=room_nid,
            membership=row["membership"],
            event_nid=row["event_nid"],
            position=row["position"],
        )
        for row in rows
        if row["event_nid"] is not None
    ]


LOAD_JOINED_ROOM_IDS = """
SELECT r.room_id FROM memberships AS m JOIN rooms AS r ON r.nid = m.room_nid
WHERE m.user_id = $1 AND m.membership = 'join' ORDER BY m.position
"""


async def load_joined_room_ids(tx: Connection, user_id: UserId) -> list[RoomId]:
    """The rooms that the user is joined to, in the order of joining."""
    return [RoomId(row["room_id"]) for row in await tx.fetch(LOAD_JOINED_ROOM_IDS, user_id)]


IS_JOINED_TO_ANY = """
SELECT EXISTS (
    SELECT FROM memberships AS m JOIN rooms AS r ON r.nid = m.room_nid
    WHERE m.user_id = $1 AND m.membership = 'join' AND r.room_id = ANY($2)
)
"""


async def is_joined_to_any(tx: Connection, user_id: UserId, room_ids: Sequence[RoomId]) -> bool:
    """Whether the user is joined to one of these rooms."""
    joined: bool = await tx.fetchval(IS_JOINED_TO_ANY, user_id, room_ids)
    return joined


LOAD_MUTUAL_ROOMS = """
SELECT r.nid, r.room_id
FROM memberships AS a
JOIN memberships AS b ON b.room_nid = a.room_nid AND b.user_id = $2 AND b.membership = 'join'
JOIN rooms AS r ON r.nid = a.room_nid
WHERE a.user_id = $1 AND a.membership = 'join' ORDER BY r.nid
"""


async def load_mutual_rooms(tx: Connection, user_id: UserId, other: UserId) -> list[tuple[int, RoomId]]:
    """Nid and id of the rooms that both users are joined to, in order of their nids."""
    return [(row["nid"], RoomId(row["room_id"])) for row in await tx.fetch(LOAD_MUTUAL_ROOMS, user_id, other)]


LOAD_BANNED = """
SELECT user_id, event_nid FROM memberships WHERE room_nid = $1 AND membership = 'ban' ORDER BY position LIMIT $2
"""


async def load_banned(tx: Connection, room_nid: int, *, limit: int) -> dict[UserId, int]:
    """Who is banned from the room, and the nid of the event that says so; those first who have been so longest."""
    return {UserId(row["user_id"]): row["event_nid"] for row in await tx.fetch(LOAD_BANNED, room_nid, limit)}


class MemberBody(NamedTuple):
    """A joined member, and the PDU of the member event, decoded by the codec. A tuple, because a room has thousands."""

    user_id: str
    redacted_by: int | None
    body: bytes


LOAD_JOINED_BODIES = """
SELECT m.user_id, e.redacted_by, e.body FROM memberships AS m JOIN events AS e ON e.nid = m.event_nid
WHERE m.room_nid = $1 AND m.membership = 'join'
"""


async def load_joined_bodies(tx: Connection, codec: Codec, room_nid: int) -> list[MemberBody]:
    """The joined members of a room with their member events."""
    decode = codec.decode
    rows = await tx.fetch(LOAD_JOINED_BODIES, room_nid)
    return [MemberBody(user_id, redacted_by, decode(body)) for user_id, redacted_by, body in rows]


LOAD_MEMBER_EVENTS = f"""
SELECT {EVENT_COLUMNS} FROM events
WHERE nid = ANY(ARRAY(SELECT m.event_nid FROM memberships AS m WHERE m.room_nid = $1 AND m.membership = ANY($2)))
"""


async def load_member_events(tx: Connection, codec: Codec, room_nid: int, memberships: Sequence[str]) -> list[EventRow]:
    """The member events of everybody whose newest membership of the room is one of these, in one query."""
    return [read_row(row, codec) for row in await tx.fetch(LOAD_MEMBER_EVENTS, room_nid, memberships)]
