"""Making the tables that are derived from the event log anew: current state, memberships and their history.

The log is `events`, `state_snapshots` and `room_state_log`. Room by room, what the derived tables should hold is
compared with what they do hold, and a room that differs is written again; so the same code checks and mends.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.matrix.identifiers import ServerName
from tim_server.storage.clock import lock_clock
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.state import load_snapshots, load_state_keys

SNAPSHOTS_AT_ONCE = 200

Rows = frozenset[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedRoom:
    """The rows of one room: (type, state_key, event_nid) of the state, (user_id, membership, event_nid, position) of
    the memberships and of their history."""

    current_state: Rows = frozenset()
    memberships: Rows = frozenset()
    membership_history: Rows = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """How many rows the derived tables have now, and how many were missing or wrong before."""

    rooms: int = 0
    rows: int = 0
    mended: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEvent:
    """What the log says of an `m.room.member` event. An outlier has no position."""

    nid: int
    user_id: str
    membership: str
    position: int | None
    is_local: bool
    is_accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMoment:
    """The resolved state, as nids of its events, from `position` on."""

    position: int
    nids: frozenset[int]


ROOMS = "SELECT nid FROM rooms ORDER BY nid"


async def rebuild_derived(tx: Connection, codec: Codec, server_name: ServerName) -> Rebuilt:
    """Compare the derived tables of every room with the log and mend them.

    Holds the clock until the transaction ends, so that nothing is committed meanwhile.
    """
    await lock_clock(tx)
    done = Rebuilt(mended=await _delete_roomless(tx))
    for row in await tx.fetch(ROOMS):
        wanted = await derive_room(tx, codec, row["nid"], server_name)
        found = await read_derived(tx, row["nid"])
        if wanted != found:
            await _write(tx, row["nid"], wanted)
        done = Rebuilt(
            rooms=done.rooms + 1, rows=done.rows + _count(wanted), mended=done.mended + _difference(wanted, found)
        )
    return done


def _count(room: DerivedRoom) -> int:
    return len(room.current_state) + len(room.memberships) + len(room.membership_history)


def _difference(wanted: DerivedRoom, found: DerivedRoom) -> int:
    """Rows that were missing, and rows that were there and should not be."""
    return (
        len(wanted.current_state ^ found.current_state)
        + len(wanted.memberships ^ found.memberships)
        + len(wanted.membership_history ^ found.membership_history)
    )


HEAD_SNAPSHOT = "SELECT snapshot FROM rooms WHERE nid = $1"


async def derive_room(tx: Connection, codec: Codec, room_nid: int, server_name: ServerName) -> DerivedRoom:
    """What the derived tables should hold of the room."""
    head = await tx.fetchval(HEAD_SNAPSHOT, room_nid)
    state = await load_state_keys(tx, (await load_snapshots(tx, [head])).get(head, ()))
    members = await _load_members(tx, codec, room_nid, server_name)
    history: dict[tuple[str, int], tuple[str, str, int, int]] = {}
    newest: dict[str, tuple[str, str, int, int]] = {}
    before = StateMoment(position=-1, nids=frozenset())
    async for after in _state_moments(tx, room_nid):
        for row in membership_changes(before, after, members):
            history[row[0], row[3]] = row
            newest[row[0]] = row
        before = after
    return DerivedRoom(
        current_state=frozenset((type_, state_key, nid) for (type_, state_key), nid in state.items()),
        memberships=frozenset(newest.values()),
        membership_history=frozenset(history.values()),
    )


def membership_changes(
    before: StateMoment, after: StateMoment, members: Mapping[int, MemberEvent]
) -> Sequence[tuple[str, str, int, int]]:
    """The rows (user_id, membership, event_nid, position) that the commit between two moments made.

    A commit of our own events changes a membership with each of them. One of another server's events makes one row for
    each user whose resolved membership changed: at the event that says so, or else at the end of the commit.
    """
    own = [
        (member.position, member)
        for member in members.values()
        if member.is_local
        and member.is_accepted
        and member.position is not None
        and before.position < member.position <= after.position
    ]
    if own:
        return [
            (member.user_id, member.membership, member.nid, position) for position, member in sorted(own, key=_first)
        ]
    gone = {members[nid].user_id: members[nid] for nid in before.nids - after.nids if nid in members}
    come = {members[nid].user_id: members[nid] for nid in after.nids - before.nids if nid in members}
    rows = [
        (user_id, member.membership, member.nid, _position_in(before, member, after))
        for user_id, member in come.items()
    ]
    rows += [(user, "leave", member.nid, after.position) for user, member in gone.items() if user not in come]
    return rows


def _first(pair: tuple[int, MemberEvent]) -> int:
    return pair[0]


def _position_in(before: StateMoment, member: MemberEvent, after: StateMoment) -> int:
    if member.position is not None and before.position < member.position <= after.position:
        return member.position
    return after.position


MEMBER_EVENTS = """
SELECT nid, state_key, sender, position, rejected IS NULL AND NOT soft_failed AS is_accepted, body
FROM events WHERE room_nid = $1 AND type = 'm.room.member' AND state_key IS NOT NULL
"""


async def _load_members(tx: Connection, codec: Codec, room_nid: int, server_name: ServerName) -> dict[int, MemberEvent]:
    members = {}
    for row in await tx.fetch(MEMBER_EVENTS, room_nid):
        membership = orjson.loads(codec.decode(row["body"])).get("content", {}).get("membership")
        members[row["nid"]] = MemberEvent(
            nid=row["nid"],
            user_id=row["state_key"],
            membership=membership if isinstance(membership, str) else "leave",
            position=row["position"],
            is_local=row["sender"].partition(":")[2] == server_name,
            is_accepted=row["is_accepted"],
        )
    return members


STATE_LOG = "SELECT position, snapshot FROM room_state_log WHERE room_nid = $1 ORDER BY position"


async def _state_moments(tx: Connection, room_nid: int) -> AsyncIterator[StateMoment]:
    log = await tx.fetch(STATE_LOG, room_nid)
    for start in range(0, len(log), SNAPSHOTS_AT_ONCE):
        some = log[start : start + SNAPSHOTS_AT_ONCE]
        snapshots = await load_snapshots(tx, {row["snapshot"] for row in some})
        for row in some:
            yield StateMoment(position=row["position"], nids=snapshots.get(row["snapshot"], frozenset()))


READ_STATE = "SELECT type, state_key, event_nid FROM current_state WHERE room_nid = $1"
READ_MEMBERSHIPS = "SELECT user_id, membership, event_nid, position FROM memberships WHERE room_nid = $1"
READ_HISTORY = "SELECT user_id, membership, event_nid, position FROM membership_history WHERE room_nid = $1"


async def read_derived(tx: Connection, room_nid: int) -> DerivedRoom:
    """What the derived tables hold of the room."""
    return DerivedRoom(
        current_state=frozenset(tuple(row) for row in await tx.fetch(READ_STATE, room_nid)),
        memberships=frozenset(tuple(row) for row in await tx.fetch(READ_MEMBERSHIPS, room_nid)),
        membership_history=frozenset(tuple(row) for row in await tx.fetch(READ_HISTORY, room_nid)),
    )


DELETE_STATE = "DELETE FROM current_state WHERE room_nid = $1"
DELETE_MEMBERSHIPS = "DELETE FROM memberships WHERE room_nid = $1"
DELETE_HISTORY = "DELETE FROM membership_history WHERE room_nid = $1"
INSERT_STATE = "INSERT INTO current_state (room_nid, type, state_key, event_nid) VALUES ($1, $2, $3, $4)"
INSERT_MEMBERSHIP = """
INSERT INTO memberships (room_nid, user_id, membership, event_nid, position) VALUES ($1, $2, $3, $4, $5)
"""
INSERT_HISTORY = """
INSERT INTO membership_history (room_nid, user_id, membership, event_nid, position) VALUES ($1, $2, $3, $4, $5)
"""


async def _write(tx: Connection, room_nid: int, room: DerivedRoom) -> None:
    for delete in (DELETE_STATE, DELETE_MEMBERSHIPS, DELETE_HISTORY):
        await tx.execute(delete, room_nid)
    for insert, rows in (
        (INSERT_STATE, room.current_state),
        (INSERT_MEMBERSHIP, room.memberships),
        (INSERT_HISTORY, room.membership_history),
    ):
        await tx.executemany(insert, [(room_nid, *row) for row in rows])


DELETE_ROOMLESS = """
WITH s AS (DELETE FROM current_state WHERE room_nid NOT IN (SELECT nid FROM rooms) RETURNING 1),
     m AS (DELETE FROM memberships WHERE room_nid NOT IN (SELECT nid FROM rooms) RETURNING 1),
     h AS (DELETE FROM membership_history WHERE room_nid NOT IN (SELECT nid FROM rooms) RETURNING 1)
SELECT (SELECT count(*) FROM s) + (SELECT count(*) FROM m) + (SELECT count(*) FROM h)
"""


async def _delete_roomless(tx: Connection) -> int:
    """Remove what belongs to no room; how many rows that were."""
    count: int = await tx.fetchval(DELETE_ROOMLESS)
    return count
