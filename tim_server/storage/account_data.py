"""Account data: what a user's clients keep on the server, globally or for one room (`room_id` is empty for global).

Not derived from the event log. Spec: https://spec.matrix.org/v1.19/client-server-api/#client-config
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="account_data",
        owner="services.account_data",
        bound="accounts × 10,000 entries of up to limits.account_data_bytes_max",
        reaper="erasure of the account",
    ),
)

GLOBAL = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDataEntry:
    """One entry: `content` is the JSON object as bytes, `position` the clock when it was last set."""

    room_id: str
    type: str
    content: bytes
    position: int


PUT_ACCOUNT_DATA = """
INSERT INTO account_data (user_id, room_id, type, content, position) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_id, room_id, type) DO UPDATE SET content = $4, position = $5
"""


async def put_account_data(
    tx: Connection, user_id: UserId, *, room_id: str, event_type: str, stored: bytes, position: int
) -> None:
    """Set an entry to content that the codec has encoded."""
    await tx.execute(PUT_ACCOUNT_DATA, user_id, room_id, event_type, stored, position)


READ_ACCOUNT_DATA = "SELECT content FROM account_data WHERE user_id = $1 AND room_id = $2 AND type = $3"


async def read_account_data(
    tx: Connection, codec: Codec, user_id: UserId, *, room_id: str, event_type: str
) -> bytes | None:
    """The content of one entry, as a JSON object."""
    stored: bytes | None = await tx.fetchval(READ_ACCOUNT_DATA, user_id, room_id, event_type)
    return None if stored is None else codec.decode(stored)


COUNT_ACCOUNT_DATA = "SELECT count(*) FROM account_data WHERE user_id = $1"
HAS_ACCOUNT_DATA = "SELECT EXISTS (SELECT FROM account_data WHERE user_id = $1 AND room_id = $2 AND type = $3)"


async def has_account_data(tx: Connection, user_id: UserId, *, room_id: str, event_type: str) -> bool:
    """Whether there is such an entry."""
    found: bool = await tx.fetchval(HAS_ACCOUNT_DATA, user_id, room_id, event_type)
    return found


async def count_account_data(tx: Connection, user_id: UserId) -> int:
    """How many entries the user has, global and of rooms."""
    count: int = await tx.fetchval(COUNT_ACCOUNT_DATA, user_id)
    return count


READ_ALL_OF_USER = "SELECT room_id, type, content, position FROM account_data WHERE user_id = $1 ORDER BY position"
READ_CHANGED = """
SELECT room_id, type, content, position FROM account_data
WHERE user_id = $1 AND position > $2 AND position <= $3 ORDER BY position
"""


async def read_changed_account_data(
    tx: Connection, codec: Codec, user_id: UserId, *, after: int, up_to: int
) -> list[AccountDataEntry]:
    """The entries, global and of rooms, that were set after one position and up to another; in order."""
    return _entries(codec, await tx.fetch(READ_CHANGED, user_id, after, up_to))


async def read_all_account_data(tx: Connection, codec: Codec, user_id: UserId) -> list[AccountDataEntry]:
    """All entries of a user, global and of rooms."""
    return _entries(codec, await tx.fetch(READ_ALL_OF_USER, user_id))


READ_OF_ROOM = """
SELECT room_id, type, content, position FROM account_data WHERE user_id = $1 AND room_id = $2 ORDER BY position
"""


async def read_room_account_data(tx: Connection, codec: Codec, user_id: UserId, room_id: str) -> list[AccountDataEntry]:
    """All entries that a user has for one room."""
    return _entries(codec, await tx.fetch(READ_OF_ROOM, user_id, room_id))


def _entries(codec: Codec, rows: Sequence[asyncpg.Record]) -> list[AccountDataEntry]:
    return [
        AccountDataEntry(
            room_id=row["room_id"], type=row["type"], content=codec.decode(row["content"]), position=row["position"]
        )
        for row in rows
    ]


READ_GLOBAL_OF_USERS = """
SELECT user_id, content FROM account_data WHERE user_id = ANY($1) AND room_id = '' AND type = $2
"""


async def read_global_of_users(
    tx: Connection, codec: Codec, users: Sequence[UserId], event_type: str
) -> dict[UserId, bytes]:
    """The contents of these users' global entries of one type, as JSON objects."""
    rows = await tx.fetch(READ_GLOBAL_OF_USERS, users, event_type)
    return {UserId(row["user_id"]): codec.decode(row["content"]) for row in rows}


DELETE_ALL_OF_USER = "DELETE FROM account_data WHERE user_id = $1"


async def delete_account_data(tx: Connection, user_id: UserId) -> None:
    """Remove everything that a user has stored."""
    await tx.execute(DELETE_ALL_OF_USER, user_id)
