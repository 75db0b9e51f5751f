"""Who shares rooms with a user, and with whom that has changed. Reads memberships; owns no table."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingChanges:
    """`joined`: users who are in a room with the reader in which they were not together before. `left`: users who were
    in a room with the reader, and are in none any more."""

    joined: frozenset[UserId] = frozenset()
    left: frozenset[UserId] = frozenset()


# Each look goes along an index, whatever the planner knows of the tables: OFFSET 0, and subqueries that give one value,
# keep it from joining whole tables.

LOAD_OWN_ROOMS = "SELECT room_nid, membership = 'join' AS is_in, position FROM memberships WHERE user_id = $1"

LOAD_ROOMS_BEFORE = """
SELECT wanted.room_nid FROM unnest($2::bigint[]) AS wanted (room_nid)
WHERE (SELECT h.membership FROM membership_history AS h
       WHERE h.user_id = $1 AND h.room_nid = wanted.room_nid AND h.position <= $3
       ORDER BY h.position DESC LIMIT 1) = 'join'
"""

LOAD_ROOMS_LEFT_SINCE = """
SELECT wanted.room_nid FROM unnest($2::bigint[]) AS wanted (room_nid)
WHERE EXISTS (SELECT FROM membership_history AS h
    WHERE h.user_id = $1 AND h.room_nid = wanted.room_nid AND h.position > $3 AND h.membership <> 'join' OFFSET 0)
"""

LOAD_STEPS_SINCE = """
SELECT h.room_nid, h.user_id, h.membership = 'join' AS is_in
FROM unnest($1::bigint[]) AS wanted (room_nid)
CROSS JOIN LATERAL (
    SELECT room_nid, user_id, membership, position FROM membership_history
    WHERE room_nid = wanted.room_nid AND position > $2 ORDER BY position LIMIT $3 OFFSET 0
) AS h
ORDER BY h.room_nid, h.position LIMIT $3
"""
STEPS_MAX = 5_000
"""Beyond so many steps it is not asked what each has meant: whoever shares a room may be told of as new."""

LOAD_WAS_IN = """
SELECT wanted.room_nid, wanted.user_id FROM unnest($1::bigint[], $2::text[]) AS wanted (room_nid, user_id)
WHERE (SELECT h.membership FROM membership_history AS h
       WHERE h.user_id = wanted.user_id AND h.room_nid = wanted.room_nid AND h.position <= $3
       ORDER BY h.position DESC LIMIT 1) = 'join'
"""

LOAD_MEMBERS_OF_ROOMS = """
SELECT DISTINCT user_id FROM memberships
WHERE room_nid = ANY($1) AND (membership = 'join' OR position > $2)
"""


async def find_sharing_changes(tx: Connection, reader: UserId, *, after: int) -> SharingChanges:
    """With whom the reader has begun and ceased to share rooms after a position. Where very much has happened, users
    may be among them with whom nothing has changed."""
    own = await tx.fetch(LOAD_OWN_ROOMS, reader)
    now = {row["room_nid"] for row in own if row["is_in"]}
    moved = [row["room_nid"] for row in own if row["position"] > after]
    was_in_moved: set[int] = set()
    left_between: set[int] = set()
    if moved:
        was_in_moved = {row["room_nid"] for row in await tx.fetch(LOAD_ROOMS_BEFORE, reader, moved, after)}
        left_between = {row["room_nid"] for row in await tx.fetch(LOAD_ROOMS_LEFT_SINCE, reader, moved, after)}
    before = (now - set(moved)) | was_in_moved
    stayed = (now & before) - left_between  # of whom was away, servers of others tell nothing meanwhile
    joined, parted = await _moved_in(tx, stayed, after=after)
    joined |= await _members_of(tx, now - stayed, after)
    parted |= await _members_of(tx, before - now, after)
    sharing = await find_sharing(tx, reader, joined | parted)
    return SharingChanges(joined=frozenset(joined & sharing - {reader}), left=frozenset(parted - sharing - {reader}))


async def _moved_in(tx: Connection, room_nids: set[int], *, after: int) -> tuple[set[UserId], set[UserId]]:
    """Who came into these rooms, also after having left them, and who left them."""
    if not room_nids:
        return set(), set()
    steps = await tx.fetch(LOAD_STEPS_SINCE, list(room_nids), after, STEPS_MAX + 1)
    if len(steps) > STEPS_MAX:
        members = await _members_of(tx, room_nids, after)
        return members, members
    is_in = {(row["room_nid"], row["user_id"]): row["is_in"] for row in steps}
    if not is_in:
        return set(), set()
    was_in = {tuple(row) for row in await tx.fetch(LOAD_WAS_IN, *zip(*is_in, strict=True), after)}
    was_out = {(row["room_nid"], row["user_id"]) for row in steps if not row["is_in"]} | (is_in.keys() - was_in)
    came = {UserId(pair[1]) for pair, is_now in is_in.items() if is_now and pair in was_out}
    return came, {UserId(pair[1]) for pair, is_now in is_in.items() if not is_now and pair in was_in}


async def _members_of(tx: Connection, room_nids: set[int], after: int) -> set[UserId]:
    """Who is in these rooms, or has moved there after a position."""
    if not room_nids:
        return set()
    return {UserId(row["user_id"]) for row in await tx.fetch(LOAD_MEMBERS_OF_ROOMS, list(room_nids), after)}


class MemberStep(NamedTuple):
    """A member event that took effect: of whom, where, and when."""

    room_nid: int
    user_id: UserId
    position: int


class Move(Enum):
    """What a member event has meant for who is in the room."""

    IN = "in"
    OUT = "out"
    NONE = "none"


LOAD_STEPS = """
SELECT wanted.room_nid, wanted.user_id, wanted.position,
       (SELECT h.membership FROM membership_history AS h
        WHERE h.user_id = wanted.user_id AND h.room_nid = wanted.room_nid AND h.position = wanted.position) AS after,
       (SELECT h.membership FROM membership_history AS h
        WHERE h.user_id = wanted.user_id AND h.room_nid = wanted.room_nid AND h.position < wanted.position
        ORDER BY h.position DESC LIMIT 1) AS before
FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS wanted (room_nid, user_id, position)
"""


async def load_moves(tx: Connection, steps: Collection[MemberStep]) -> dict[MemberStep, Move]:
    """Whether the users came, went, or neither; events that did not take effect, such as rejected ones, did neither."""
    moves = {}
    for row in await tx.fetch(LOAD_STEPS, *zip(*steps, strict=True)):
        step = MemberStep(row["room_nid"], UserId(row["user_id"]), row["position"])
        is_in, was_in = row["after"] == "join", row["before"] == "join"
        is_move = row["after"] is not None and is_in != was_in
        moves[step] = (Move.IN if is_in else Move.OUT) if is_move else Move.NONE
    return moves


LOAD_ROOMS_OF_USERS = "SELECT user_id, room_nid FROM memberships WHERE user_id = ANY($1) AND membership = 'join'"


async def load_rooms_of_users(tx: Connection, user_ids: Collection[UserId]) -> dict[UserId, frozenset[int]]:
    """The rooms that each of these users is in."""
    rooms: dict[UserId, set[int]] = {user_id: set() for user_id in user_ids}
    for row in await tx.fetch(LOAD_ROOMS_OF_USERS, list(user_ids)):
        rooms[UserId(row["user_id"])].add(row["room_nid"])
    return {user_id: frozenset(of_user) for user_id, of_user in rooms.items()}


FIND_SHARING = """
SELECT wanted.user_id FROM unnest($2::text[]) AS wanted (user_id)
CROSS JOIN LATERAL (
    SELECT FROM memberships AS theirs
    WHERE theirs.user_id = wanted.user_id AND theirs.membership = 'join'
      AND (SELECT own.membership FROM memberships AS own
           WHERE own.user_id = $1 AND own.room_nid = theirs.room_nid) = 'join'
    LIMIT 1
) AS shared
"""


async def find_sharing(tx: Connection, reader: UserId, user_ids: Collection[UserId]) -> set[UserId]:
    """Those of the users who share a room with the reader now."""
    if not user_ids:
        return set()
    return {UserId(row["user_id"]) for row in await tx.fetch(FIND_SHARING, reader, list(user_ids))}
