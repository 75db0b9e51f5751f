"""Profile fields of local users, one row each; values are JSON. Not derived from the event log.

Spec: https://spec.matrix.org/v1.19/client-server-api/#profiles
"""

from collections.abc import Sequence

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="profiles",
        owner="services.profile",
        bound="64 KiB per account",
        reaper="the user, and erasure",
    ),
)

READ_FIELDS = "SELECT field, value FROM profiles WHERE user_id = $1 ORDER BY field"


async def read_fields(tx: Connection, codec: Codec, user_id: UserId) -> dict[str, bytes]:
    """All fields of a user's profile, as JSON values."""
    return {row["field"]: codec.decode(row["value"]) for row in await tx.fetch(READ_FIELDS, user_id)}


PUT_FIELD = """
INSERT INTO profiles (user_id, field, value, position) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, field) DO UPDATE SET value = $3, position = $4
"""


async def put_field(tx: Connection, user_id: UserId, field: str, stored: bytes, *, position: int) -> None:
    """Set a field to a value that the codec has encoded."""
    await tx.execute(PUT_FIELD, user_id, field, stored, position)


DELETE_FIELD = "DELETE FROM profiles WHERE user_id = $1 AND field = $2"


async def delete_field(tx: Connection, user_id: UserId, field: str) -> None:
    """Remove a field, if it is there."""
    await tx.execute(DELETE_FIELD, user_id, field)


DELETE_PROFILE = "DELETE FROM profiles WHERE user_id = $1"


async def delete_profile(tx: Connection, user_id: UserId) -> None:
    """Remove a whole profile."""
    await tx.execute(DELETE_PROFILE, user_id)


READ_NAMES_OF_USERS = """
SELECT user_id, field, value FROM profiles WHERE user_id = ANY($1) AND field IN ('displayname', 'avatar_url')
"""


async def read_names_of_users(tx: Connection, codec: Codec, users: Sequence[UserId]) -> dict[UserId, dict[str, bytes]]:
    """Display name and avatar of these users, as JSON values, as far as they are set."""
    names: dict[UserId, dict[str, bytes]] = {}
    for row in await tx.fetch(READ_NAMES_OF_USERS, users):
        names.setdefault(UserId(row["user_id"]), {})[row["field"]] = codec.decode(row["value"])
    return names
