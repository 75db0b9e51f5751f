"""Who shares rooms with a user, and with whom that has changed. Reads memberships; owns no table."""

from collections.abc import Collection, Iterable, Sequence
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


FIND_MOVED = """
WITH own AS MATERIALIZED (
    SELECT m.room_nid, m.membership = 'join' AS is_in,
           CASE WHEN m.position <= $2 THEN m.membership ELSE (
               SELECT h.membership FROM membership_history AS h
               WHERE h.user_id = $1 AND h.room_nid = m.room_nid AND h.position <= $2 ORDER BY h.position DESC LIMIT 1
           ) END IS NOT DISTINCT FROM 'join' AS was_in
    FROM memberships AS m WHERE m.user_id = $1 AND ($3::bigint[] IS NULL OR m.room_nid = ANY($3))
), others AS (
    SELECT h.user_id, h.room_nid FROM own JOIN membership_history AS h USING (room_nid)
    WHERE own.is_in AND own.was_in AND h.position > $2 AND h.user_id <> $1
    UNION
    SELECT m.user_id, m.room_nid FROM own JOIN memberships AS m USING (room_nid)
    WHERE own.is_in <> own.was_in AND m.user_id <> $1
), pairs AS (
    SELECT m.user_id, own.is_in AND m.membership = 'join' AS is_shared,
           own.was_in AND CASE WHEN m.position <= $2 THEN m.membership ELSE (
               SELECT h.membership FROM membership_history AS h
               WHERE h.user_id = m.user_id AND h.room_nid = m.room_nid AND h.position <= $2
               ORDER BY h.position DESC LIMIT 1
           ) END IS NOT DISTINCT FROM 'join' AS was_shared
    FROM others JOIN own USING (room_nid) JOIN memberships AS m USING (user_id, room_nid)
)
SELECT user_id, bool_or(is_shared AND NOT was_shared) AS joined, bool_or(was_shared AND NOT is_shared) AS parted
FROM pairs GROUP BY user_id HAVING bool_or(is_shared <> was_shared)
"""


async def find_sharing_changes(
    tx: Connection, reader: UserId, *, after: int, room_nids: Sequence[int] | None = None
) -> SharingChanges:
    """With whom the reader has begun and ceased to share rooms after a position. With `room_nids` only these rooms are
    looked at: those in which memberships have changed, where that is known."""
    rows = await tx.fetch(FIND_MOVED, reader, after, room_nids)
    parted = {UserId(row["user_id"]) for row in rows if row["parted"]}
    left = parted - await find_sharing(tx, reader, parted) if parted else parted
    return SharingChanges(
        joined=frozenset(UserId(row["user_id"]) for row in rows if row["joined"]), left=frozenset(left)
    )


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
SELECT wanted.user_id FROM unnest($2::text[]) AS wanted (user_id) WHERE EXISTS (
    SELECT FROM memberships AS theirs JOIN memberships AS own ON own.room_nid = theirs.room_nid
    WHERE theirs.user_id = wanted.user_id AND theirs.membership = 'join'
      AND own.user_id = $1 AND own.membership = 'join'
)
"""


async def find_sharing(tx: Connection, reader: UserId, user_ids: Iterable[UserId]) -> set[UserId]:
    """Those of the users who share a room with the reader now."""
    return {UserId(row["user_id"]) for row in await tx.fetch(FIND_SHARING, reader, list(user_ids))}
