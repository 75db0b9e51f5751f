"""Client transactions: which event a device's transaction id made, so that a repeated request makes no second one.

Spec: https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="client_transactions",
        owner="storage.room_commits",
        bound="one row a sent event, for a week",
        reaper="storage.client_transactions.reap",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTransaction:
    """A client's transaction id, for one endpoint of one device, and the event that it made."""

    user_id: UserId
    device_id: str
    key_hash: bytes
    txn_id: str
    event_nid: int
    event_id: EventId


INSERT_CLIENT_TRANSACTIONS = """
INSERT INTO client_transactions (user_id, device_id, key_hash, txn_id, event_nid, event_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::bigint[], $6::text[])
ON CONFLICT DO NOTHING RETURNING event_nid
"""


async def insert_client_transactions(tx: Connection, rows: Sequence[ClientTransaction]) -> set[int]:
    """Record transaction ids; the nids of the events whose transaction was known already, and is not recorded."""
    if not rows:
        return set()
    inserted = await tx.fetch(
        INSERT_CLIENT_TRANSACTIONS,
        [t.user_id for t in rows],
        [t.device_id for t in rows],
        [t.key_hash for t in rows],
        [t.txn_id for t in rows],
        [t.event_nid for t in rows],
        [t.event_id for t in rows],
    )
    return {t.event_nid for t in rows} - {row["event_nid"] for row in inserted}


LOAD_KNOWN = """
SELECT t.user_id, t.device_id, t.key_hash, t.event_id
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS wanted (user_id, device_id, key_hash)
JOIN client_transactions AS t USING (user_id, device_id, key_hash)
"""


async def load_known_transactions(
    tx: Connection, keys: Sequence[tuple[str, str, bytes]]
) -> dict[tuple[str, str, bytes], EventId]:
    """The events that these (user, device, key hash) have made."""
    if not keys:
        return {}
    users, devices, hashes = zip(*keys, strict=True)
    rows = await tx.fetch(LOAD_KNOWN, list(users), list(devices), list(hashes))
    return {(row["user_id"], row["device_id"], row["key_hash"]): EventId(row["event_id"]) for row in rows}


# OFFSET 0 keeps the planner from reading all transactions of the device instead of those of a few events.
LOAD_TRANSACTION_IDS = """
SELECT event_nid, txn_id FROM (
    SELECT event_nid, txn_id, user_id, device_id FROM client_transactions WHERE event_nid = ANY($1) OFFSET 0
) AS t
WHERE user_id = $2 AND device_id = $3
"""


async def load_transaction_ids(
    tx: Connection, event_nids: Sequence[int], user_id: str, device_id: str
) -> dict[int, str]:
    """The transaction ids with which this device sent these events."""
    if not event_nids:
        return {}
    rows = await tx.fetch(LOAD_TRANSACTION_IDS, list(event_nids), user_id, device_id)
    return {row["event_nid"]: row["txn_id"] for row in rows}


REAP_TRANSACTIONS = "DELETE FROM client_transactions WHERE created_at < clock_timestamp() - interval '7 days'"


async def reap(tx: Connection) -> None:
    """Remove transactions older than a week."""
    await tx.execute(REAP_TRANSACTIONS)
