"""Receipts: how far each user has read in each room, and in each thread of it. Not derived from the event log.

`thread_id` is empty for a receipt that is about all of the room, else `main` or the id of a thread's root.
`event_position` is the place in the timeline up to which the receipt reaches, `position` the clock when it was set.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receipts
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tim_server.matrix.identifiers import EventId, ServerName, UserId
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="receipts",
        owner="services.receipts",
        bound="one row a user, room, type and thread that was read",
        reaper="room purge, erasure of the account",
    ),
)

RECEIPTS = "receipts"
"""The commit log's stream of facts for receipts."""
READ = "m.read"
READ_PRIVATE = "m.read.private"
UNTHREADED = ""
MAIN_THREAD = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A user has read the room, or a thread of it, up to an event; `ts` is when, in milliseconds since 1970."""

    room_nid: int
    user_id: UserId
    receipt_type: str
    thread_id: str
    event_id: EventId
    event_position: int
    ts: int

    @property
    def key(self) -> tuple[str, str]:
        """What there is one receipt of for each user and room: type and thread."""
        return (self.receipt_type, self.thread_id)

    def as_fact(self) -> Fact:
        """The receipt as the commit log's tail holds it."""
        value = (self.user_id, self.receipt_type, self.thread_id, self.event_id, self.event_position, self.ts)
        return Fact(RECEIPTS, self.room_nid, value)


def reach_of(position: int, minor: int) -> int:
    """The position up to which the timeline is read once the event there is. History that came later into the hole
    before a position stands before the event there."""
    return position if minor == 0 else position - 1


def may_stand_at(thread_id: str, event_id: str, event_thread: str | None) -> bool:
    """Whether a receipt for this thread may stand at an event of that one. The root of a thread is part of the main
    timeline, and may also stand for the beginning of its own thread."""
    return thread_id in (UNTHREADED, event_thread or MAIN_THREAD, event_id)


def reader_of_private(fact: Fact) -> UserId | None:
    """The only user whom the fact concerns; None for what everybody in the room is told."""
    if fact.stream != RECEIPTS or fact.value[1] == READ:
        return None
    return UserId(fact.value[0])


PUT_RECEIPTS = """
INSERT INTO receipts AS r (room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts, position)
SELECT room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts, $8
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
     AS new (room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts)
ON CONFLICT (room_nid, user_id, receipt_type, thread_id) DO UPDATE
SET event_id = excluded.event_id, event_position = excluded.event_position, ts = excluded.ts,
    position = excluded.position
WHERE r.event_position < excluded.event_position
RETURNING room_nid, user_id, receipt_type, thread_id
"""


async def put_receipts(tx: Connection, receipts: Sequence[Receipt], position: int) -> list[Receipt]:
    """Set receipts, each of another key, unless the user has one that reaches as far; those that were set."""
    rows = await tx.fetch(
        PUT_RECEIPTS,
        [receipt.room_nid for receipt in receipts],
        [receipt.user_id for receipt in receipts],
        [receipt.receipt_type for receipt in receipts],
        [receipt.thread_id for receipt in receipts],
        [receipt.event_id for receipt in receipts],
        [receipt.event_position for receipt in receipts],
        [receipt.ts for receipt in receipts],
        position,
    )
    moved = {(row["room_nid"], row["user_id"], row["receipt_type"], row["thread_id"]) for row in rows}
    return [r for r in receipts if (r.room_nid, r.user_id, r.receipt_type, r.thread_id) in moved]


class MarkedEvent(NamedTuple):
    """An event that a receipt may stand at."""

    event_id: EventId
    room_nid: int
    position: int
    minor: int
    thread_id: EventId | None


LOAD_MARKED = """
SELECT event_id, room_nid, position, minor, thread_id FROM events
WHERE event_id = ANY($1) AND position IS NOT NULL AND rejected IS NULL AND NOT soft_failed
"""


async def load_marked(tx: Connection, event_ids: Collection[EventId]) -> dict[EventId, MarkedEvent]:
    """Those of these events that stand in timelines."""
    rows = (MarkedEvent(EventId(row[0]), *tuple(row)[1:]) for row in await tx.fetch(LOAD_MARKED, list(event_ids)))
    return {row.event_id: row for row in rows}


LOAD_REACHED = """
SELECT receipt_type, thread_id, event_position FROM receipts
WHERE room_nid = $1 AND user_id = $2 AND receipt_type = ANY($3) AND thread_id = ANY($4)
"""


async def load_reached(
    tx: Connection, room_nid: int, user_id: UserId, keys: Collection[tuple[str, str]]
) -> Mapping[tuple[str, str], int]:
    """How far the user's receipts of these types and threads reach in a room, by type and thread."""
    types, threads = [receipt_type for receipt_type, _ in keys], [thread_id for _, thread_id in keys]
    rows = await tx.fetch(LOAD_REACHED, room_nid, user_id, types, threads)
    return {(row["receipt_type"], row["thread_id"]): row["event_position"] for row in rows}


FIND_ROOMS_WITH_NEW_RECEIPTS = """
SELECT m.room_nid FROM memberships AS m
WHERE m.user_id = $1 AND m.membership = 'join' AND EXISTS (
    SELECT FROM receipts AS r
    WHERE r.room_nid = m.room_nid AND r.position > $2 AND (r.receipt_type = 'm.read' OR r.user_id = $1)
)
"""


async def find_rooms_with_new_receipts(tx: Connection, user_id: UserId, after: int) -> list[int]:
    """The joined rooms of the user in which receipts that they may see were set after a position."""
    return [row["room_nid"] for row in await tx.fetch(FIND_ROOMS_WITH_NEW_RECEIPTS, user_id, after)]


LOAD_RECEIPTS = """
SELECT r.room_nid, r.user_id, r.receipt_type, r.thread_id, r.event_id, r.event_position, r.ts
FROM unnest($2::bigint[], $3::bigint[]) AS wanted (room_nid, after)
CROSS JOIN LATERAL (
    (SELECT room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts FROM receipts
     WHERE room_nid = wanted.room_nid AND position > wanted.after AND receipt_type = 'm.read' AND user_id <> $1
     ORDER BY position DESC LIMIT $4)
    UNION ALL
    (SELECT room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts FROM receipts
     WHERE room_nid = wanted.room_nid AND user_id = $1 AND position > wanted.after
     ORDER BY position DESC LIMIT $4)
) AS r
"""


async def load_receipts(tx: Connection, user_id: UserId, after: Mapping[int, int], *, limit: int) -> list[Fact]:
    """The receipts that were set in each room after its position, as far as the user may see them, in the form of
    facts: of their own and of others' public ones those that were set last, at most `limit` of either."""
    rows = await tx.fetch(LOAD_RECEIPTS, user_id, list(after), list(after.values()), limit)
    return [Fact(RECEIPTS, row[0], tuple(row)[1:]) for row in rows]


class PublicReceipt(NamedTuple):
    """A public receipt, as other servers are told of it. `position` is the clock when it was set."""

    room_nid: int
    user_id: UserId
    thread_id: str
    event_id: EventId
    ts: int
    position: int


LOAD_PUBLIC_RECEIPTS = """
SELECT room_nid, user_id, thread_id, event_id, ts, position FROM receipts
WHERE room_nid = ANY($2) AND position > $3 AND position <= $4 AND receipt_type = 'm.read'
  AND right(user_id, length($1)) = $1
ORDER BY position FETCH FIRST $5 ROWS WITH TIES
"""


async def load_public_receipts(
    tx: Connection, server_name: ServerName, room_nids: Iterable[int], *, after: int, up_to: int, limit: int
) -> list[PublicReceipt]:
    """The receipts of users of a server that were set in these rooms after one position and up to another, oldest
    first; those of the last position all, also beyond the limit."""
    rows = await tx.fetch(LOAD_PUBLIC_RECEIPTS, f":{server_name}", list(room_nids), after, up_to, limit)
    return [PublicReceipt(row[0], UserId(row[1]), row[2], EventId(row[3]), row[4], row[5]) for row in rows]


LOAD_NEWEST_RECEIPTS = """
SELECT r.room_nid, r.user_id, r.thread_id, r.event_id, r.ts, r.position
FROM unnest($2::bigint[]) AS wanted (room_nid)
CROSS JOIN LATERAL (
    SELECT room_nid, user_id, thread_id, event_id, ts, position FROM receipts
    WHERE room_nid = wanted.room_nid AND receipt_type = 'm.read' AND right(user_id, length($1)) = $1
    ORDER BY position DESC LIMIT $3
) AS r
ORDER BY r.position
"""


async def load_newest_receipts(
    tx: Connection, server_name: ServerName, room_nids: Collection[int], *, limit: int
) -> list[PublicReceipt]:
    """The receipts of users of a server in these rooms, of each room those that were set last, oldest first."""
    rows = await tx.fetch(LOAD_NEWEST_RECEIPTS, f":{server_name}", list(room_nids), limit) if room_nids else ()
    return [PublicReceipt(row[0], UserId(row[1]), row[2], EventId(row[3]), row[4], row[5]) for row in rows]


DELETE_RECEIPTS = """
DELETE FROM receipts AS r USING memberships AS m
WHERE m.user_id = $1 AND r.room_nid = m.room_nid AND r.user_id = $1
"""


async def delete_receipts(tx: Connection, user_id: UserId) -> None:
    """Remove all receipts of a user."""
    await tx.execute(DELETE_RECEIPTS, user_id)
