"""Servers whose members are missing from a room's state here: when this server came into the room, their keys could not
be had, so that nothing of theirs could be verified. Not derived: the state is completed once the keys can be had.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tim_server.matrix.identifiers import RoomId, ServerName
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="unverified_servers",
        owner="services.rooms.remote.complete_state",
        bound="unverified_members.SERVERS_MAX rows a room that was joined through other servers",
        reaper="the join after which they are verified; after complete_state.ATTEMPTS_MAX attempts they are given up",
    ),
)


class Unverified(NamedTuple):
    """A server in a room, and how often it was asked for its keys in vain."""

    room_nid: int
    room_id: RoomId
    server_name: ServerName
    attempts: int


SET_UNVERIFIED = """
WITH verified AS (DELETE FROM unverified_servers WHERE room_nid = $1 AND NOT server_name = ANY($2))
INSERT INTO unverified_servers AS u (room_nid, server_name, due_ts) SELECT $1, unnest($2::text[]), $3
ON CONFLICT (room_nid, server_name) DO UPDATE SET due_ts = greatest(u.due_ts, excluded.due_ts)
"""


async def set_unverified(tx: Connection, room_nid: int, servers: Collection[ServerName], *, due_ts: int) -> None:
    """Note these servers of a room, and no others; none of them is due before that time. Those that are noted already
    keep count of what was tried."""
    await tx.execute(SET_UNVERIFIED, room_nid, list(servers), due_ts)


LOAD_DUE = """
SELECT u.room_nid, r.room_id, u.server_name, u.attempts
FROM unverified_servers AS u JOIN rooms AS r ON r.nid = u.room_nid
WHERE u.due_ts <= $1 ORDER BY u.due_ts LIMIT $2
"""


async def load_due(tx: Connection, now_ms: int, *, limit: int) -> list[Unverified]:
    """Those whose turn it is, the longest due first."""
    return [
        Unverified(row[0], RoomId(row[1]), ServerName(row[2]), row[3])
        for row in await tx.fetch(LOAD_DUE, now_ms, limit)
    ]


POSTPONE = """
UPDATE unverified_servers AS u SET due_ts = late.due_ts, attempts = u.attempts + 1
FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS late (room_nid, server_name, due_ts)
WHERE u.room_nid = late.room_nid AND u.server_name = late.server_name
"""


async def postpone(tx: Connection, late: Sequence[tuple[Unverified, int]]) -> None:
    """Try these again at a time, each; milliseconds since the epoch."""
    rows = [each for each, _ in late]
    await tx.execute(
        POSTPONE,
        [each.room_nid for each in rows],
        [each.server_name for each in rows],
        [due_ts for _, due_ts in late],
    )


DELETE_UNVERIFIED = """
DELETE FROM unverified_servers AS u USING unnest($1::bigint[], $2::text[]) AS gone (room_nid, server_name)
WHERE u.room_nid = gone.room_nid AND u.server_name = gone.server_name
"""


async def delete_unverified(tx: Connection, gone: Sequence[Unverified]) -> None:
    """Try these no more."""
    await tx.execute(DELETE_UNVERIFIED, [each.room_nid for each in gone], [each.server_name for each in gone])
