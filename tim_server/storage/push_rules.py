"""Push rules of users who have changed any. Not derived from the event log.

`rules` is JSON through the codec, since rules hold what users wrote: keywords, and with whom they talk.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules
"""

from dataclasses import dataclass

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


PUT_RULES = """
INSERT INTO push_rules AS p (user_id, rules, position) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE SET rules = $2, position = $3 WHERE p.position = $4
RETURNING true
"""


async def put_push_rules(tx: Connection, user_id: UserId, stored: bytes, *, position: int, after: int) -> bool:
    """Set the rules to what the codec has encoded, if those of position `after` (0: none) are still in place."""
    return await tx.fetchval(PUT_RULES, user_id, stored, position, after) is not None


DELETE_RULES = "DELETE FROM push_rules WHERE user_id = $1"


async def delete_push_rules(tx: Connection, user_id: UserId) -> None:
    """Remove what a user has changed."""
    await tx.execute(DELETE_RULES, user_id)
