"""Push rules of users who have changed any. Not derived from the event log.

`rules` is JSON through the codec, since rules hold what users wrote: keywords, and with whom they talk.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="push_rules",
        owner="services.push_rules",
        bound="one row of up to limits.push_rules_bytes_max an account",
        reaper="erasure of the account",
    ),
)

PUSH_RULES = "push_rules"
"""The commit log's stream for changes of a user's push rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRules:
    """The rules as JSON, and the clock when they were last changed."""

    content: bytes
    position: int


READ_RULES = "SELECT rules, position FROM push_rules WHERE user_id = $1"


async def read_push_rules(tx: Connection, codec: Codec, user_id: UserId) -> StoredRules | None:
    """The rules of a user; None where the user has changed none."""
    row = await tx.fetchrow(READ_RULES, user_id)
    return None if row is None else StoredRules(content=codec.decode(row["rules"]), position=row["position"])


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRules:
    """Rules to be stored, as the codec has encoded them. `looks_at_events`: there may be events that must be looked at
    for their sake. `after` is the position of the rules that they take the place of; 0: of none."""

    user_id: UserId
    stored: bytes
    looks_at_events: bool
    after: int


PUT_RULES = """
INSERT INTO push_rules AS p (user_id, rules, looks_at_events, position) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE SET rules = $2, looks_at_events = $3, position = $4 WHERE p.position = $5
RETURNING true
"""


async def put_push_rules(tx: Connection, new: NewRules, position: int) -> bool:
    """Set the rules, if those that they take the place of are still there."""
    values = (new.user_id, new.stored, new.looks_at_events, position, new.after)
    return await tx.fetchval(PUT_RULES, *values) is not None


READ_RULES_OF_USERS = "SELECT user_id, rules, position FROM push_rules WHERE user_id = ANY($1)"


async def read_push_rules_of_users(tx: Connection, codec: Codec, users: Iterable[UserId]) -> dict[UserId, StoredRules]:
    """The rules of those of the users who have changed any."""
    return _by_user(codec, await tx.fetch(READ_RULES_OF_USERS, list(users)))


MEMBERS_AT_ONCE = 100

READ_RULES_OF_MEMBERS = """
SELECT p.user_id, p.rules, p.position FROM memberships AS m JOIN push_rules AS p ON p.user_id = m.user_id
WHERE m.room_nid = $1 AND m.membership = 'join' AND p.looks_at_events AND p.user_id > $2
ORDER BY p.user_id LIMIT $3
"""


async def read_push_rules_of_members(
    tx: Connection, codec: Codec, room_nid: int, after: str
) -> dict[UserId, StoredRules]:
    """The rules for whose sake events of a room must be looked at, by user in order: `MEMBERS_AT_ONCE` of the members
    after a user id, fewer where there are no more."""
    return _by_user(codec, await tx.fetch(READ_RULES_OF_MEMBERS, room_nid, after, MEMBERS_AT_ONCE))


def _by_user(codec: Codec, rows: Sequence[asyncpg.Record]) -> dict[UserId, StoredRules]:
    return {
        UserId(row["user_id"]): StoredRules(content=codec.decode(row["rules"]), position=row["position"])
        for row in rows
    }


DELETE_RULES = "DELETE FROM push_rules WHERE user_id = $1"


async def delete_push_rules(tx: Connection, user_id: UserId) -> None:
    """Remove what a user has changed."""
    await tx.execute(DELETE_RULES, user_id)
