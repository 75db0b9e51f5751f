"""What summaries of rooms ask: each question for many rooms at once. Reads the log and what derives from it; owns no
table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBody:
    """A state event in place, as far as summaries read it. `body` is the PDU's JSON, decoded by the codec."""

    room_nid: int
    type: str
    state_key: str
    origin_server_ts: int
    redacted_by: int | None
    body: bytes


LOAD_STATE_BODIES = """
SELECT s.room_nid, s.type, s.state_key, e.origin_server_ts, e.redacted_by, e.body
FROM current_state AS s JOIN events AS e ON e.nid = s.event_nid
WHERE s.room_nid = ANY($1) AND s.type = ANY($2) AND s.state_key = ''
"""


async def load_state_bodies(
    tx: Connection, codec: Codec, room_nids: Sequence[int], types: Sequence[str]
) -> dict[int, dict[str, StateBody]]:
    """The state events of these types with an empty state key, by room and type."""
    found: dict[int, dict[str, StateBody]] = {}
    for row in await tx.fetch(LOAD_STATE_BODIES, room_nids, types) if room_nids else ():
        found.setdefault(row["room_nid"], {})[row["type"]] = StateBody(
            room_nid=row["room_nid"],
            type=row["type"],
            state_key=row["state_key"],
            origin_server_ts=row["origin_server_ts"],
            redacted_by=row["redacted_by"],
            body=codec.decode(row["body"]),
        )
    return found


LOAD_CHILD_BODIES = """
SELECT c.room_nid, c.state_key, e.origin_server_ts, e.redacted_by, e.body
FROM unnest($1::bigint[]) AS wanted (room_nid)
CROSS JOIN LATERAL (
    SELECT room_nid, state_key, event_nid FROM current_state
    WHERE room_nid = wanted.room_nid AND type = 'm.space.child' ORDER BY state_key LIMIT $2
) AS c
JOIN events AS e ON e.nid = c.event_nid
LIMIT $3
"""


async def load_child_bodies(
    tx: Connection, codec: Codec, room_nids: Sequence[int], *, per_room_max: int, limit: int
) -> list[StateBody]:
    """The `m.space.child` events of these rooms, at most so many of each and of all."""
    if not room_nids:
        return []
    return [
        StateBody(
            room_nid=row["room_nid"],
            type="m.space.child",
            state_key=row["state_key"],
            origin_server_ts=row["origin_server_ts"],
            redacted_by=row["redacted_by"],
            body=codec.decode(row["body"]),
        )
        for row in await tx.fetch(LOAD_CHILD_BODIES, room_nids, per_room_max, limit)
    ]


COUNT_JOINED = """
SELECT room_nid, count(*) AS joined FROM memberships
WHERE room_nid = ANY($1) AND membership = 'join' GROUP BY room_nid
"""


async def count_joined(tx: Connection, room_nids: Sequence[int]) -> dict[int, int]:
    """How many members are joined to each of these rooms; rooms without any are left out."""
    if not room_nids:
        return {}
    return {row["room_nid"]: row["joined"] for row in await tx.fetch(COUNT_JOINED, room_nids)}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRoom:
    """A room that this server knows, and a user's membership of it, if there is any."""

    nid: int
    room_id: RoomId
    room_version: str
    membership: str | None


FIND_ROOMS_FOR_USER = """
SELECT r.nid, r.room_id, r.room_version, m.membership
FROM rooms AS r LEFT JOIN memberships AS m ON m.room_nid = r.nid AND m.user_id = $2
WHERE r.room_id = ANY($1)
"""


async def find_rooms_for_user(tx: Connection, room_ids: Iterable[str], user_id: UserId) -> dict[RoomId, KnownRoom]:
    """Those of these rooms that this server knows, and what the user is to them."""
    rows = await tx.fetch(FIND_ROOMS_FOR_USER, list(room_ids), user_id)
    return {RoomId(row["room_id"]): _known(row) for row in rows}


FIND_ROOMS_FOR_SERVER = """
SELECT r.nid, r.room_id, r.room_version, coalesce(
    (SELECT m.membership FROM memberships AS m
     WHERE m.server_name = $2 AND m.room_nid = r.nid AND m.membership = 'join' LIMIT 1),
    (SELECT m.membership FROM memberships AS m
     WHERE m.room_nid = r.nid AND m.membership = 'invite' AND m.server_name = $2 LIMIT 1)
) AS membership
FROM rooms AS r WHERE r.room_id = ANY($1)
"""


async def find_rooms_for_server(
    tx: Connection, room_ids: Iterable[str], server_name: ServerName
) -> dict[RoomId, KnownRoom]:
    """Those of these rooms that this server knows; the membership is `join` where a user of the other server is joined,
    else `invite` where one is invited."""
    return {
        RoomId(row["room_id"]): _known(row)
        for row in await tx.fetch(FIND_ROOMS_FOR_SERVER, list(room_ids), server_name)
    }


def _known(row: Any) -> KnownRoom:
    return KnownRoom(
        nid=row["nid"],
        room_id=RoomId(row["room_id"]),
        room_version=row["room_version"],
        membership=row["membership"],
    )
