"""Keys that other servers sign with. Not derived from the event log.

`server_keys` holds keys that a server was seen to have, with the last moment at which each was valid, so that old
events can be verified when the server is gone; `server_key_documents` the newest signed document of each server.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.server_keys import KEYS_KEPT_MAX, ServerKey
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="server_keys",
        owner="federation.key_memory",
        bound="keys of servers that have sent something or were asked, KEYS_KEPT_MAX of each",
        reaper="none: old events are verified with them",
    ),
    TableContract(
        name="server_key_documents",
        owner="federation.key_memory",
        bound="one row a server, of up to 64 KiB",
        reaper="none",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKeys:
    """What is kept of a server's keys: when its newest document was fetched, and until when that is good; 0 where there
    is none."""

    keys: Mapping[str, ServerKey] = field(default_factory=dict)
    fetched_ts: int = 0
    valid_until_ts: int = 0


LOAD_KEYS = """
SELECT server_name, key_id, verify_key, valid_until_ts, is_old FROM server_keys WHERE server_name = ANY($1::text[])
"""
LOAD_TIMES = """
SELECT server_name, fetched_ts, valid_until_ts FROM server_key_documents WHERE server_name = ANY($1::text[])
"""


async def load_server_keys(tx: Connection, server_names: Collection[ServerName]) -> dict[ServerName, StoredKeys]:
    """What is kept of the keys of each of these servers, perhaps nothing."""
    keys: dict[str, dict[str, ServerKey]] = {}
    for row in await tx.fetch(LOAD_KEYS, list(server_names)):
        key = ServerKey(verify_key=row["verify_key"], valid_until_ts=row["valid_until_ts"], is_old=row["is_old"])
        keys.setdefault(row["server_name"], {})[row["key_id"]] = key
    times = {row["server_name"]: row for row in await tx.fetch(LOAD_TIMES, list(server_names))}
    return {
        name: StoredKeys(
            keys=keys.get(name, {}),
            fetched_ts=times[name]["fetched_ts"] if name in times else 0,
            valid_until_ts=times[name]["valid_until_ts"] if name in times else 0,
        )
        for name in server_names
    }


LOAD_DOCUMENT = "SELECT document FROM server_key_documents WHERE server_name = $1"


async def load_key_document(tx: Connection, server_name: ServerName) -> bytes | None:
    """The newest document of a server, as JSON."""
    document: bytes | None = await tx.fetchval(LOAD_DOCUMENT, server_name)
    return document


# Other processes keep keys too: a key never becomes another one, nor something less than it was, as in `merged`.
PUT_KEYS = """
INSERT INTO server_keys AS k (server_name, key_id, verify_key, valid_until_ts, is_old)
SELECT $1, * FROM unnest($2::text[], $3::bytea[], $4::bigint[], $5::boolean[])
ON CONFLICT (server_name, key_id) DO UPDATE
SET is_old = excluded.is_old,
    valid_until_ts = CASE WHEN excluded.is_old THEN excluded.valid_until_ts
                          ELSE greatest(k.valid_until_ts, excluded.valid_until_ts) END
WHERE k.verify_key = excluded.verify_key
"""
TRIM_KEYS = """
DELETE FROM server_keys
WHERE server_name = $1 AND key_id IN
    (SELECT key_id FROM server_keys WHERE server_name = $1 ORDER BY valid_until_ts DESC, key_id OFFSET $2)
"""


async def put_server_keys(tx: Connection, server_name: ServerName, keys: Mapping[str, ServerKey]) -> None:
    """Keep a server's keys; of more than `KEYS_KEPT_MAX` those that were valid last."""
    await tx.execute(
        PUT_KEYS,
        server_name,
        list(keys),
        [key.verify_key for key in keys.values()],
        [key.valid_until_ts for key in keys.values()],
        [key.is_old for key in keys.values()],
    )
    await tx.execute(TRIM_KEYS, server_name, KEYS_KEPT_MAX)


PUT_DOCUMENT = """
INSERT INTO server_key_documents AS d (server_name, document, fetched_ts, valid_until_ts)
VALUES ($1, $2, $3, $4)
ON CONFLICT (server_name) DO UPDATE
SET document = $2, fetched_ts = $3, valid_until_ts = $4 WHERE d.fetched_ts <= $3
"""


async def put_key_document(
    tx: Connection, server_name: ServerName, document: bytes, *, fetched_ts: int, valid_until_ts: int
) -> None:
    """Keep a server's newest document."""
    await tx.execute(PUT_DOCUMENT, server_name, document, fetched_ts, valid_until_ts)
