"""Who is typing in which room. UNLOGGED: a crash of PostgreSQL empties the table. Not derived from the event log.

A row stays for a while after its user has ceased to type, so that readers see that something changed.

Spec: https://spec.matrix.org/v1.19/client-server-api/#typing-notifications
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import asyncpg

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="typing",
        owner="services.typing",
        bound="one row a user and room with typing in the last day",
        reaper="background.reap",
    ),
)

TYPING = "typing"
"""The commit log's stream of facts for who begins or ceases to type."""
USERS_MAX = 100
"""How many of those who type in a room are told of."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TypingKey:
    """A user in a room."""

    room_nid: int
    user_id: UserId

    def as_fact(self, *, is_typing: bool) -> Fact:
        """That the user has begun or ceased to type."""
        return Fact(TYPING, self.room_nid, (self.user_id, int(is_typing)))


PROLONG_TYPING = """
UPDATE typing AS t SET expires_ts = $3 FROM unnest($1::bigint[], $2::text[]) AS going (room_nid, user_id)
WHERE t.room_nid = going.room_nid AND t.user_id = going.user_id AND t.is_typing AND t.expires_ts > $4
RETURNING t.room_nid, t.user_id
"""


async def prolong_typing(tx: Connection, keys: Sequence[TypingKey], *, expires_ts: int, now_ms: int) -> set[TypingKey]:
    """Move the end of what goes on, which is no news to anybody; those who are typing."""
    rows = await tx.fetch(PROLONG_TYPING, *_columns(keys), expires_ts, now_ms)
    return {_read_key(row) for row in rows}


BEGIN_TYPING = """
INSERT INTO typing (room_nid, user_id, is_typing, expires_ts, position)
SELECT room_nid, user_id, true, $3, $4 FROM unnest($1::bigint[], $2::text[]) AS begun (room_nid, user_id)
ON CONFLICT (room_nid, user_id) DO UPDATE
SET is_typing = true, expires_ts = excluded.expires_ts, position = excluded.position
"""


async def begin_typing(tx: Connection, keys: Sequence[TypingKey], *, expires_ts: int, position: int) -> None:
    """These users type from now on."""
    await tx.execute(BEGIN_TYPING, *_columns(keys), expires_ts, position)


END_TYPING = """
INSERT INTO typing AS t (room_nid, user_id, is_typing, expires_ts, position)
SELECT room_nid, user_id, false, $4, $5 FROM unnest($1::bigint[], $2::text[]) AS ended (room_nid, user_id)
ON CONFLICT (room_nid, user_id) DO UPDATE
SET is_typing = false, expires_ts = least(t.expires_ts, excluded.expires_ts), position = excluded.position
WHERE t.is_typing AND ($3::bigint IS NULL OR t.expires_ts <= $3)
RETURNING room_nid, user_id
"""


async def end_typing(
    tx: Connection, keys: Sequence[TypingKey], *, expired_by: int | None, now_ms: int, position: int
) -> list[TypingKey]:
    """These users cease to type, those only who were not to type for longer than `expired_by`, if that is given; who
    did. Of whom nothing is known any more after a crash did, too: readers have been told that they type."""
    return [_read_key(row) for row in await tx.fetch(END_TYPING, *_columns(keys), expired_by, now_ms, position)]


FIND_TYPING = """
SELECT t.room_nid, t.user_id FROM unnest($1::bigint[], $2::text[]) AS wanted (room_nid, user_id)
JOIN typing AS t ON t.room_nid = wanted.room_nid AND t.user_id = wanted.user_id WHERE t.is_typing
"""


async def find_typing(tx: Connection, keys: Sequence[TypingKey]) -> set[TypingKey]:
    """Those who have begun to type and not ceased."""
    return {_read_key(row) for row in await tx.fetch(FIND_TYPING, *_columns(keys))}


def _columns(keys: Sequence[TypingKey]) -> tuple[list[int], list[UserId]]:
    return [key.room_nid for key in keys], [key.user_id for key in keys]


def _read_key(row: asyncpg.Record) -> TypingKey:
    return TypingKey(room_nid=row["room_nid"], user_id=UserId(row["user_id"]))


FIND_EXPIRED = "SELECT room_nid, user_id FROM typing WHERE is_typing AND expires_ts <= $1 ORDER BY expires_ts LIMIT $2"
IS_ANYBODY_TYPING = "SELECT EXISTS (SELECT FROM typing WHERE is_typing)"


async def find_expired(tx: Connection, *, expired_by: int, limit: int) -> list[TypingKey]:
    """Who should have ceased to type by then, and has not."""
    return [_read_key(row) for row in await tx.fetch(FIND_EXPIRED, expired_by, limit)]


async def is_anybody_typing(tx: Connection) -> bool:
    """Whether anybody types anywhere."""
    found: bool = await tx.fetchval(IS_ANYBODY_TYPING)
    return found


FIND_ROOMS_WITH_CHANGED_TYPING = """
SELECT m.room_nid FROM memberships AS m
WHERE m.user_id = $1 AND m.membership = 'join'
  AND EXISTS (SELECT FROM typing AS t WHERE t.room_nid = m.room_nid AND t.position > $2)
"""


async def find_rooms_with_changed_typing(tx: Connection, user_id: UserId, after: int) -> list[int]:
    """The joined rooms of the user in which somebody began or ceased to type after a position."""
    return [row["room_nid"] for row in await tx.fetch(FIND_ROOMS_WITH_CHANGED_TYPING, user_id, after)]


LOAD_TYPING = """
SELECT t.room_nid, t.user_id FROM typing AS t
WHERE t.room_nid = ANY($1) AND t.is_typing AND EXISTS (
    SELECT FROM memberships AS m WHERE m.user_id = t.user_id AND m.room_nid = t.room_nid AND m.membership = 'join'
)
ORDER BY t.position, t.user_id
"""


async def load_typing(tx: Connection, room_nids: Collection[int]) -> dict[int, tuple[UserId, ...]]:
    """The members who type in each of these rooms, who began first at the front, at most `USERS_MAX`."""
    typing: dict[int, list[UserId]] = {room_nid: [] for room_nid in room_nids}
    for row in await tx.fetch(LOAD_TYPING, list(room_nids)):
        typing[row["room_nid"]].append(UserId(row["user_id"]))
    return {room_nid: tuple(users[:USERS_MAX]) for room_nid, users in typing.items()}


FIND_ROOMS_WITH_TYPING = """
SELECT DISTINCT room_nid FROM typing WHERE is_typing AND right(user_id, length($1)) = $1
"""


async def find_rooms_with_typing(tx: Connection, server_name: ServerName) -> list[int]:
    """The rooms in which users of a server type."""
    return [row["room_nid"] for row in await tx.fetch(FIND_ROOMS_WITH_TYPING, f":{server_name}")]


REAP_TYPING = """
DELETE FROM typing WHERE NOT is_typing AND expires_ts < extract(epoch FROM clock_timestamp()) * 1000 - 86400000
"""


async def reap(tx: Connection) -> None:
    """Remove what nobody looks for any more: changes of more than a day ago."""
    await tx.execute(REAP_TYPING)
