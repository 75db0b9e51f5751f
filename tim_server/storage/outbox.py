"""The federation outbox: events that must still leave for a server, committed together with them.

A row holds ids, not content; the destination's sender reads rows in order and deletes what was acknowledged.
"""

from collections.abc import Sequence

from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="federation_outbox",
        owner="storage.room_commits",
        bound="one row an event and server not yet told of it",
        reaper="the server's acknowledgement",
    ),
)

INSERT_OUTBOX = """
INSERT INTO federation_outbox (destination, position, event_nid)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
"""


async def insert_outbox(tx: Connection, rows: Sequence[tuple[str, int, int]]) -> None:
    """Owe events to servers: (destination, position, event nid)."""
    await tx.execute(
        INSERT_OUTBOX,
        [destination for destination, _, _ in rows],
        [position for _, position, _ in rows],
        [event_nid for _, _, event_nid in rows],
    )
