"""Keys that other servers sign with. Not derived from the event log.

`server_keys` holds each key that a server was ever seen to have, with the last moment at which it was valid, so that
old events can be verified when the server is gone; `server_key_documents` the newest signed document of each server,
and what was found out about the connection that it came by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.server_keys import ServerKey
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="server_keys",
        owner="federation.keys",
        bound="keys of servers that have sent something or were asked, 100 of a document",
        reaper="none: old events are verified with them",
    ),
    TableContract(
        name="server_key_documents", owner="federation.keys", bound="one row a server, of up to 64 KiB", reaper="none"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """A document as JSON, when it was fetched, until when it is good, and what was found about the connection; None
    where it came through a notary."""

    document: bytes
    fetched_ts: int
    valid_until_ts: int
    finding: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKeys:
    """All that is kept of a server's keys."""

    keys: Mapping[str, ServerKey] = field(default_factory=dict)
    document: StoredDocument | None = None


LOAD_KEYS = "SELECT key_id, verify_key, valid_until_ts, is_old FROM server_keys WHERE server_name = $1"
LOAD_DOCUMENT = """
SELECT document, fetched_ts, valid_until_ts, finding FROM server_key_documents WHERE server_name = $1
"""


async def load_server_keys(tx: Connection, server_name: ServerName) -> StoredKeys:
    """What is kept of a server's keys, perhaps nothing."""
    keys = {
        row["key_id"]: ServerKey(
            verify_key=row["verify_key"], valid_until_ts=row["valid_until_ts"], is_old=row["is_old"]
        )
        for row in await tx.fetch(LOAD_KEYS, server_name)
    }
    row = await tx.fetchrow(LOAD_DOCUMENT, server_name)
    return StoredKeys(keys=keys, document=None if row is None else StoredDocument(**dict(row.items())))


PUT_KEYS = """
INSERT INTO server_keys (server_name, key_id, verify_key, valid_until_ts, is_old)
SELECT $1, * FROM unnest($2::text[], $3::bytea[], $4::bigint[], $5::boolean[])
ON CONFLICT (server_name, key_id) DO UPDATE
SET valid_until_ts = excluded.valid_until_ts, is_old = excluded.is_old
"""
PUT_DOCUMENT = """
INSERT INTO server_key_documents AS d (server_name, document, fetched_ts, valid_until_ts, finding)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (server_name) DO UPDATE
SET document = $2, fetched_ts = $3, valid_until_ts = $4, finding = $5 WHERE d.fetched_ts <= $3
"""


async def put_server_keys(
    tx: Connection, server_name: ServerName, keys: Mapping[str, ServerKey], document: StoredDocument
) -> None:
    """Keep a server's keys, and its newest document."""
    await tx.execute(
        PUT_KEYS,
        server_name,
        list(keys),
        [key.verify_key for key in keys.values()],
        [key.valid_until_ts for key in keys.values()],
        [key.is_old for key in keys.values()],
    )
    await tx.execute(
        PUT_DOCUMENT,
        server_name,
        document.document,
        document.fetched_ts,
        document.valid_until_ts,
        document.finding,
    )
