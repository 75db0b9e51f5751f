"""Memberships of local users in rooms that this server is not in: remote invites and knocks, and what became of them.

The member event is kept here, not among `events`: nothing is known of the room that it could be checked with, so it
must not count as a checked part of the room's graph once there is one. A room of which this server knows nothing else
has a row in `rooms` without forward extremities. `memberships` derives from these rows as from a room's log: the newer
of both is the user's membership. `stripped_state` is a JSON array of what another server told of the room; `via` is a
server in the room; `answers` is the event that this one put an end to, such as the invite that was declined.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow
from tim_server.storage.memberships import write_memberships
from tim_server.storage.state import MembershipRow
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="outside_memberships",
        owner="services.rooms.remote.outside",
        bound="one row a user and room; pending invites of a user are limited",
        reaper="storage.outside_memberships.reap once the room's state says more of the user; room purge",
    ),
)

MEMBER = "m.room.member"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideMembership:
    """A local user's membership of a room that this server is not in, by a member event that could not be checked."""

    event_nid: int
    user_id: UserId
    membership: str
    room_version: str
    event_id: EventId
    sender: UserId
    origin_server_ts: int
    body: bytes
    answers: EventId | None = None
    via: ServerName | None = None
    stripped_state: bytes | None = None


DELETE_HISTORY_BEFORE = """
DELETE FROM membership_history AS h USING outside_memberships AS o
WHERE o.room_nid = $1 AND o.user_id = $2
  AND h.user_id = o.user_id AND h.room_nid = o.room_nid AND h.position = o.position
"""

UPSERT_OUTSIDE = """
INSERT INTO outside_memberships (room_nid, user_id, event_nid, position, membership, room_version, event_id, answers,
                                 sender, origin_server_ts, via, body, stripped_state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (room_nid, user_id) DO UPDATE
SET event_nid = excluded.event_nid, position = excluded.position, membership = excluded.membership,
    room_version = excluded.room_version, event_id = excluded.event_id, answers = excluded.answers,
    sender = excluded.sender, origin_server_ts = excluded.origin_server_ts, via = excluded.via, body = excluded.body,
    stripped_state = excluded.stripped_state
"""


async def put_outside_membership(
    tx: Connection, codec: Codec, room_nid: int, change: OutsideMembership, position: int
) -> None:
    """Make this the user's membership, in place of what was known from outside before."""
    await tx.execute(DELETE_HISTORY_BEFORE, room_nid, change.user_id)
    await tx.execute(
        UPSERT_OUTSIDE,
        room_nid,
        change.user_id,
        change.event_nid,
        position,
        change.membership,
        change.room_version,
        change.event_id,
        change.answers,
        change.sender,
        change.origin_server_ts,
        change.via,
        codec.encode(change.body),
        None if change.stripped_state is None else codec.encode(change.stripped_state),
    )
    row = MembershipRow(
        user_id=change.user_id,
        room_nid=room_nid,
        membership=change.membership,
        event_nid=change.event_nid,
        position=position,
    )
    await write_memberships(tx, [row])


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideRow:
    """A membership from outside as it is stored: the member event as readers of events get it, and what goes with
    it."""

    event: EventRow
    room_version: str
    membership: str
    answers: EventId | None
    via: ServerName | None
    stripped_state: bytes | None


OUTSIDE_COLUMNS = (
    "room_nid, user_id, event_nid, position, membership, room_version, event_id, answers, sender, origin_server_ts, "
    "via, body, stripped_state"
)

LOAD_OUTSIDE = f"SELECT {OUTSIDE_COLUMNS} FROM outside_memberships WHERE event_nid = ANY($1)"


async def load_outside(tx: Connection, codec: Codec, event_nids: Collection[int]) -> dict[int, OutsideRow]:
    """Those of these member events that are kept here, by nid."""
    if not event_nids:
        return {}
    return {row["event_nid"]: _read(row, codec) for row in await tx.fetch(LOAD_OUTSIDE, list(event_nids))}


LOAD_OUTSIDE_OF_USERS = f"""
SELECT {OUTSIDE_COLUMNS} FROM outside_memberships AS o
WHERE user_id = ANY($2) AND room_nid = (SELECT nid FROM rooms WHERE room_id = $1) AND EXISTS (
    SELECT FROM memberships AS m
    WHERE m.user_id = o.user_id AND m.room_nid = o.room_nid AND m.event_nid = o.event_nid
)
"""


async def load_outside_of_users(
    tx: Connection, codec: Codec, room_id: RoomId, users: Collection[UserId]
) -> dict[UserId, OutsideRow]:
    """The memberships of these users, as far as the newest is one that is known from outside of the room."""
    rows = await tx.fetch(LOAD_OUTSIDE_OF_USERS, room_id, list(users))
    return {UserId(row["user_id"]): _read(row, codec) for row in rows}


IS_KNOWN = """
SELECT EXISTS (SELECT FROM outside_memberships WHERE room_nid = $1 AND user_id = $2 AND $3 IN (event_id, answers))
"""


async def is_known_outside(tx: Connection, room_nid: int, user_id: UserId, event_id: EventId) -> bool:
    """Whether the event is the user's membership from outside, or was, and has been answered."""
    known: bool = await tx.fetchval(IS_KNOWN, room_nid, user_id, event_id)
    return known


def _read(row: Any, codec: Codec) -> OutsideRow:
    event = EventRow(
        nid=row["event_nid"],
        room_nid=row["room_nid"],
        position=row["position"],
        minor=0,
        depth=0,
        origin_server_ts=row["origin_server_ts"],
        snapshot=None,
        redacted_by=None,
        replaces=None,
        notify_class=0,
        soft_failed=False,
        event_id=EventId(row["event_id"]),
        type=MEMBER,
        state_key=row["user_id"],
        sender=UserId(row["sender"]),
        thread_id=None,
        rejected=None,
        prev_nids=(),
        auth_nids=(),
        body=codec.decode(row["body"]),
    )
    stripped_state = row["stripped_state"]
    return OutsideRow(
        event=event,
        room_version=row["room_version"],
        membership=row["membership"],
        answers=None if row["answers"] is None else EventId(row["answers"]),
        via=None if row["via"] is None else ServerName(row["via"]),
        stripped_state=None if stripped_state is None else codec.decode(stripped_state),
    )


FIND_SERVERS_OF_MEMBERSHIP = """
SELECT o.via, coalesce(o.sender, e.sender) AS sender
FROM rooms AS r JOIN memberships AS m ON m.room_nid = r.nid AND m.user_id = $2
LEFT JOIN outside_memberships AS o ON o.room_nid = r.nid AND o.user_id = m.user_id AND o.event_nid = m.event_nid
LEFT JOIN events AS e ON e.nid = m.event_nid
WHERE r.room_id = $1
"""


async def find_servers_of_membership(tx: Connection, room_id: RoomId, user_id: UserId) -> list[ServerName]:
    """The server through which the user's newest membership of the room came, and that of whose doing it is, such as
    who invited them."""
    row = await tx.fetchrow(FIND_SERVERS_OF_MEMBERSHIP, room_id, user_id)
    if row is None:
        return []
    via = [] if row["via"] is None else [ServerName(row["via"])]
    return via if row["sender"] is None else [*via, UserId(row["sender"]).server_name]


READ_OUTSIDE = "SELECT user_id, membership, event_nid, position FROM outside_memberships WHERE room_nid = $1"


async def read_outside(tx: Connection, room_nid: int) -> Sequence[tuple[str, str, int, int]]:
    """(user id, membership, event nid, position) of each membership of the room that is known from outside."""
    rows: Iterable[Any] = await tx.fetch(READ_OUTSIDE, room_nid)
    return [(row["user_id"], row["membership"], row["event_nid"], row["position"]) for row in rows]


COUNT_PENDING_INVITES = "SELECT count(*) FROM memberships WHERE user_id = $1 AND membership = 'invite'"


async def count_pending_invites(tx: Connection, user_id: UserId) -> int:
    """How many invites the user has not answered."""
    count: int = await tx.fetchval(COUNT_PENDING_INVITES, user_id)
    return count


REAPED_AT_ONCE = 10_000

REAP = """
WITH superseded AS (
    DELETE FROM outside_memberships WHERE ctid = ANY (ARRAY (
        SELECT o.ctid FROM outside_memberships AS o JOIN memberships AS m USING (user_id, room_nid)
        WHERE m.position > o.position LIMIT $1
    )) RETURNING user_id, room_nid, position
)
DELETE FROM membership_history AS h USING superseded AS s
WHERE h.user_id = s.user_id AND h.room_nid = s.room_nid AND h.position = s.position
"""


async def reap(tx: Connection) -> None:
    """Remove what was known from outside of rooms whose state has said more of the user since."""
    await tx.execute(REAP, REAPED_AT_ONCE)
