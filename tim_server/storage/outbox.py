"""The federation outbox: events that must still leave for a server, committed together with them.

A row holds ids, not content; the destination's sender reads rows in order and deletes what was acknowledged. All rows
of a commit get positions above those of all commits before it: what is read after a position misses nothing.
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
        bound="one row an event and server not yet told of it, up to `federation.outbox_events_max` a server",
        reaper="the server's acknowledgement; storage.outbox.shorten_outbox",
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


LOAD_OWED = """
SELECT position, event_nid FROM federation_outbox WHERE destination = $1 AND position > $2 ORDER BY position LIMIT $3
"""


async def load_owed(tx: Connection, destination: ServerName, *, after: int, limit: int) -> list[OwedEvent]:
    """What a server is owed after a position, oldest first."""
    return [OwedEvent(*row) for row in await tx.fetch(LOAD_OWED, destination, after, limit)]


# Jumps along the index from one destination to the next, however many rows each has.
FIND_DESTINATIONS_OWED = """
WITH RECURSIVE found AS (
    (SELECT destination FROM federation_outbox ORDER BY destination LIMIT 1)
    UNION ALL
    SELECT (SELECT o.destination FROM federation_outbox AS o WHERE o.destination > found.destination
            ORDER BY o.destination LIMIT 1)
    FROM found WHERE found.destination IS NOT NULL
)
SELECT destination FROM found WHERE destination IS NOT NULL
"""


async def find_destinations_owed(tx: Connection) -> list[ServerName]:
    """The servers that are owed anything."""
    return [ServerName(row["destination"]) for row in await tx.fetch(FIND_DESTINATIONS_OWED)]


COUNT_OWED = "SELECT count(*) FROM federation_outbox"


async def count_owed(tx: Connection) -> int:
    """How many rows there are, over all servers."""
    count: int = await tx.fetchval(COUNT_OWED)
    return count


DELETE_ACKNOWLEDGED = """
DELETE FROM federation_outbox AS o USING unnest($1::text[], $2::bigint[]) AS done (destination, position)
WHERE o.destination = done.destination AND o.position <= done.position
"""


async def delete_acknowledged(tx: Connection, done: Mapping[ServerName, int]) -> None:
    """Remove what these servers have, up to a position each."""
    await tx.execute(DELETE_ACKNOWLEDGED, list(done), list(done.values()))


DO_NOT_WAIT_FOR_THE_DISK = "SELECT set_config('synchronous_commit', 'off', true)"


async def do_not_wait_for_the_disk(tx: Connection) -> None:
    """This transaction may be lost in a crash of PostgreSQL, though it was committed."""
    await tx.execute(DO_NOT_WAIT_FOR_THE_DISK)


FIND_TOO_LONG = """
SELECT wanted.destination FROM unnest($1::text[]) AS wanted (destination)
WHERE EXISTS (SELECT FROM federation_outbox AS o WHERE o.destination = wanted.destination OFFSET $2)
"""

SHORTEN_OUTBOX = """
WITH newest AS MATERIALIZED (
    SELECT o.destination, e.room_nid, max(o.position) AS position
    FROM federation_outbox AS o JOIN events AS e ON e.nid = o.event_nid
    WHERE o.destination = ANY($1) GROUP BY o.destination, e.room_nid
)
DELETE FROM federation_outbox AS o
WHERE o.destination = ANY($1) AND o.position <= $2 AND NOT EXISTS (
    SELECT FROM newest WHERE newest.destination = o.destination AND newest.position = o.position
)
"""


async def find_too_long(tx: Connection, destinations: Sequence[ServerName], *, events_max: int) -> list[ServerName]:
    """Those of the servers that are owed more events than that."""
    return [ServerName(row["destination"]) for row in await tx.fetch(FIND_TOO_LONG, destinations, events_max)]


async def shorten_outbox(tx: Connection, destinations: Sequence[ServerName], *, up_to: int) -> int:
    """Owe these servers only the newest event of each room, of those up to a position; how many rows are gone. From
    that event a server finds the way to all before it, as from any event whose `prev_events` it lacks."""
    status: str = await tx.execute(SHORTEN_OUTBOX, destinations, up_to)
    return int(status.rpartition(" ")[2])
