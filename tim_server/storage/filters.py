"""Filters that clients have uploaded, kept as they were given. Not derived from the event log.

Spec: https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

import hashlib

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="filters",
        owner="services.filters",
        bound="accounts × limits.filters_per_user_max; equal definitions are kept once",
        reaper="each new filter beyond the bound (the oldest goes)",
    ),
)

FIND_EQUAL = "SELECT filter_id FROM filters WHERE user_id = $1 AND definition_hash = $2"
INSERT_FILTER = """
INSERT INTO filters (user_id, filter_id, definition_hash, definition)
SELECT $1, coalesce(max(filter_id), 0) + 1, $2, $3 FROM filters WHERE user_id = $1
ON CONFLICT DO NOTHING RETURNING filter_id
"""
DELETE_OLDEST = "DELETE FROM filters WHERE user_id = $1 AND filter_id <= $2"


async def put_filter(tx: Connection, user_id: UserId, definition: bytes, *, per_user_max: int) -> int | None:
    """Keep a definition, and forget the oldest beyond the bound; the filter's number, or None where another request
    took that number at the same time."""
    digest = hashlib.sha256(definition).digest()
    filter_id: int | None = await tx.fetchval(FIND_EQUAL, user_id, digest)
    if filter_id is None:
        filter_id = await tx.fetchval(INSERT_FILTER, user_id, digest, definition)
        if filter_id is not None:
            await tx.execute(DELETE_OLDEST, user_id, filter_id - per_user_max)
    return filter_id


READ_FILTER = "SELECT definition FROM filters WHERE user_id = $1 AND filter_id = $2"


async def read_filter(tx: Connection, user_id: UserId, filter_id: int) -> bytes | None:
    """The definition with this number, as it was given."""
    definition: bytes | None = await tx.fetchval(READ_FILTER, user_id, filter_id)
    return definition
