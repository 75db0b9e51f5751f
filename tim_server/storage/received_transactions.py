"""Transactions of other servers, and how they were answered: one that is repeated gets the same answer. Not derived.

"The sending server must wait and retry for a 200 OK response before sending a transaction with a different txnId":
only the newest of a server can be repeated, so that hours are far more than enough.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from tim_server.matrix.identifiers import ServerName
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="received_transactions",
        owner="services.transactions.receive",
        bound="one row a transaction, for six hours",
        reaper="storage.received_transactions.reap",
    ),
)

FIND_ANSWER = "SELECT answer FROM received_transactions WHERE origin = $1 AND txn_id = $2"


async def find_answer(tx: Connection, codec: Codec, origin: ServerName, txn_id: str) -> bytes | None:
    """How the transaction was answered; None where it is new."""
    answer: bytes | None = await tx.fetchval(FIND_ANSWER, origin, txn_id)
    return None if answer is None else codec.decode(answer)


INSERT_ANSWER = """
INSERT INTO received_transactions (origin, txn_id, answer) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""


async def insert_answer(tx: Connection, codec: Codec, origin: ServerName, txn_id: str, answer: bytes) -> None:
    """Record an answer; where there is one already, it stays."""
    await tx.execute(INSERT_ANSWER, origin, txn_id, codec.encode(answer))


REAP_ANSWERS = "DELETE FROM received_transactions WHERE received_at < clock_timestamp() - interval '6 hours'"


async def reap(tx: Connection) -> None:
    """Remove transactions older than six hours."""
    await tx.execute(REAP_ANSWERS)
