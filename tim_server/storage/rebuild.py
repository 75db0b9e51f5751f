"""Making the tables that are derived anew: of the event log current state, memberships and their history, relations,
and which rooms are open; of users and profiles the user directory.

The log is `events`, `state_snapshots` and `room_state_log`, and for rooms that this server is not in
`outside_memberships`. Room by room, what the derived tables should hold is
compared with what they do hold, and a room that differs is written again; so the same code checks and mends.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from tim_server.matrix.memberships import MemberStep, membership_steps
from tim_server.storage.clock import lock_clock
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.open_rooms import rebuild_open_rooms
from tim_server.storage.outside_memberships import read_outside
from tim_server.storage.rebuild_relations import derive_relations, read_relations, write_relations
from tim_server.storage.state import load_snapshots, load_state_keys
from tim_server.storage.user_directory import rebuild_user_directory

SNAPSHOTS_AT_ONCE = 200

Rows = frozenset[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedRoom:
    """The rows of one room: (type, state_key, event_nid) of the state, (user_id, membership, event_nid, position) of
    the memberships and of their history, all columns of the relations."""

    current_state: Rows = frozenset()
    memberships: Rows = frozenset()
    membership_history: Rows = frozenset()
    relations: Rows = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """How many rows the derived tables have now, and how many were missing or wrong before."""

    rooms: int = 0
    rows: int = 0
    mended: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEvent:
    """What the log says of an `m.room.member` event. Neither outliers nor history that was fetched have a position."""

    nid: int
    user_id: str
    membership: str
    position: int | None
    replaces: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMoment:
    """The resolved state, as nids of its events, from `position` on."""

    position: int
    nids: frozenset[int]


ROOMS = "SELECT nid FROM rooms ORDER BY nid"


async def rebuild_derived(tx: Connection, codec: Codec) -> Rebuilt:
    """Compare the derived tables of every room with the log and mend them.

    Holds the clock until the transaction ends, so that nothing is committed meanwhile.
    """
    await lock_clock(tx)
    done = Rebuilt(mended=await _delete_roomless(tx))
    for row in await tx.fetch(ROOMS):
        wanted = await derive_room(tx, codec, row["nid"])
        found = await read_derived(tx, row["nid"])
        if wanted != found:
            await _write(tx, row["nid"], wanted)
        done = Rebuilt(
            rooms=done.rooms + 1, rows=done.rows + _count(wanted), mended=done.mended + _difference(wanted, found)
        )
    others = await rebuild_open_rooms(tx, codec) + await rebuild_user_directory(tx, codec)
    return replace(done, mended=done.mended + others)


def _count(room: DerivedRoom) -> int:
    return sum(map(len, (room.current_state, room.memberships, room.membership_history, room.relations)))


def _difference(wanted: DerivedRoom, found: DerivedRoom) -> int:
    """Rows that were missing, and rows that were there and should not be."""
    return (
        len(wanted.current_state ^ found.current_state)
        + len(wanted.memberships ^ found.memberships)
        + len(wanted.membership_history ^ found.membership_history)
        + len(wanted.relations ^ found.relations)
    )


HEAD_SNAPSHOT = "SELECT snapshot FROM rooms WHERE nid = $1"


async def derive_room(tx: Connection, codec: Codec, room_nid: int) -> DerivedRoom:
    """What the derived tables should hold of the room."""
    head = await tx.fetchval(HEAD_SNAPSHOT, room_nid)
    state = await load_state_keys(tx, (await load_snapshots(tx, [head])).get(head, ()))
    history = _History(await _load_members(tx, codec, room_nid))
    before = StateMoment(position=-1, nids=frozenset())
    async for after in _state_moments(tx, room_nid):
        history.advance(before, after)
        before = after
    rows = sorted([*history.rows, *await read_outside(tx, room_nid)], key=lambda row: row[3])
    newest = {row[0]: row for row in rows}
    return DerivedRoom(
        current_state=frozenset((type_, state_key, nid) for (type_, state_key), nid in state.items()),
        memberships=frozenset(newest.values()),
        membership_history=frozenset(rows),
        relations=await derive_relations(tx, codec, room_nid),
    )


class _History:
    """The rows (user_id, membership, event_nid, position) of a room's memberships, moment after moment."""

    def __init__(self, members: Mapping[int, MemberEvent]) -> None:
        self.rows: list[tuple[str, str, int, int]] = []
        self._members = members
        self._in_force: dict[str, int] = {}
        placed = ((member.position, member) for member in members.values() if member.position is not None)
        self._timeline = sorted(placed, key=lambda pair: pair[0])

    def advance(self, before: StateMoment, after: StateMoment) -> None:
        """Append what the commit between two moments changed."""
        steps = [
            MemberStep(index=position, user_id=member.user_id, nid=member.nid, replaces=member.replaces)
            for position, member in self._between(before.position, after.position)
        ]
        gone = {self._members[nid].user_id for nid in before.nids - after.nids if nid in self._members}
        come = {self._members[nid].user_id: nid for nid in after.nids - before.nids if nid in self._members}
        concerned = gone | come.keys() | {step.user_id for step in steps}
        old = {user: nid for user in concerned if (nid := self._in_force.get(user)) is not None}
        new = {user: nid for user, nid in old.items() if user not in gone} | come
        for position, user, nid in membership_steps(old, steps, new, after.position):
            shown = self._in_force[user] if nid is None else nid
            membership = "leave" if nid is None else self._members[nid].membership
            self.rows.append((user, membership, shown, position))
            self._in_force[user] = shown
        for user in gone - come.keys():
            self._in_force.pop(user, None)

    def _between(self, after: int, up_to: int) -> Sequence[tuple[int, MemberEvent]]:
        first = bisect_right(self._timeline, after, key=lambda pair: pair[0])
        return self._timeline[first : bisect_right(self._timeline, up_to, key=lambda pair: pair[0])]


MEMBER_EVENTS = """
SELECT nid, state_key, CASE WHEN minor = 0 THEN position END AS position, replaces, body
FROM events WHERE room_nid = $1 AND type = 'm.room.member' AND state_key IS NOT NULL
"""


async def _load_members(tx: Connection, codec: Codec, room_nid: int) -> dict[int, MemberEvent]:
    members = {}
    for row in await tx.fetch(MEMBER_EVENTS, room_nid):
        membership = orjson.loads(codec.decode(row["body"])).get("content", {}).get("membership")
        members[row["nid"]] = MemberEvent(
            nid=row["nid"],
            user_id=row["state_key"],
            membership=membership if isinstance(membership, str) else "leave",
            position=row["position"],
            replaces=row["replaces"],
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
        relations=await read_relations(tx, room_nid),
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
    await write_relations(tx, room_nid, room.relations)


DELETE_ROOMLESS = """
WITH s AS (DELETE FROM current_state WHERE room_nid NOT IN (SELECT nid FROM rooms) RETURNING 1),
     m AS (DELETE FROM memberships WHERE room_nid NOT IN (SELECT nid FROM rooms) RETURNING 1),
     h AS (DELETE FROM membership_history WHERE room_nid NOT IN (SELECT nid FROM rooms) RETURNING 1),
     r AS (DELETE FROM relations WHERE room_nid NOT IN (SELECT nid FROM rooms) RETURNING 1)
SELECT (SELECT count(*) FROM s) + (SELECT count(*) FROM m) + (SELECT count(*) FROM h) + (SELECT count(*) FROM r)
"""


async def _delete_roomless(tx: Connection) -> int:
    """Remove what belongs to no room; how many rows that were."""
    count: int = await tx.fetchval(DELETE_ROOMLESS)
    return count
