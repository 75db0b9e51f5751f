"""The federation outbox: events that must still leave for a server, committed together with them.

A row holds ids, not content; the destination's sender reads rows in order and deletes what was acknowledged.
"""

from collections.abc import Mapping, Sequence

from tim_server.matrix.identifiers import ServerName
from tim_server.storage.commit_log import OwedEvent
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


async def insert_outbox(tx: Connection, owed: Mapping[tuple[ServerName, ...], Sequence[OwedEvent]]) -> None:
    """Owe events to servers, each to all of its key."""
    rows = [(name, event) for destinations, events in owed.items() for event in events for name in destinations]
    await tx.execute(
        INSERT_OUTBOX,
        [name for name, _ in rows],
        [event.position for _, event in rows],
        [event.nid for _, event in rows],
    )
