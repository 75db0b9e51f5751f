"""Messages to devices of other servers: EDUs that wait to leave, committed when they were accepted.

They go when the destination has acknowledged the transaction that held them. `edu` is the content of an
`m.direct_to_device` EDU as JSON.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tim_server.matrix.identifiers import ServerName
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="to_device_outbox",
        owner="services.to_device",
        bound="what is sent to users of a server while it is away, for 60 days",
        reaper="the server's acknowledgement; storage.to_device_outbox.reap",
    ),
)


class OutgoingMessages(NamedTuple):
    """Messages of one sender to devices of a server: the EDU's content."""

    destination: ServerName
    edu: bytes


ADD_TO_OUTBOX = """
INSERT INTO to_device_outbox (destination, edu)
SELECT new.destination, new.edu FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS new (destination, edu, number)
ORDER BY new.number
"""


async def add_to_outbox(tx: Connection, codec: Codec, messages: Sequence[OutgoingMessages]) -> None:
    """Append EDUs, in order. Only the writer does, whose commits take turns: so they are numbered in that order."""
    await tx.execute(ADD_TO_OUTBOX, [m.destination for m in messages], [codec.encode(m.edu) for m in messages])


class StoredMessages(NamedTuple):
    """An EDU that waits."""

    number: int
    edu: bytes


LOAD_OUTBOX = """
SELECT number, edu FROM to_device_outbox WHERE destination = $1 AND number > $2 ORDER BY number LIMIT $3
"""


async def load_outbox(
    tx: Connection, codec: Codec, destination: ServerName, *, after: int = 0, limit: int
) -> list[StoredMessages]:
    """The EDUs for a server after a number, oldest first."""
    rows = await tx.fetch(LOAD_OUTBOX, destination, after, limit)
    return [StoredMessages(row["number"], codec.decode(row["edu"])) for row in rows]


# Jumps along the index from one destination to the next.
FIND_DESTINATIONS_WAITING = """
WITH RECURSIVE found AS (
    (SELECT destination FROM to_device_outbox ORDER BY destination LIMIT 1)
    UNION ALL
    SELECT (SELECT o.destination FROM to_device_outbox AS o WHERE o.destination > found.destination
            ORDER BY o.destination LIMIT 1)
    FROM found WHERE found.destination IS NOT NULL
)
SELECT destination FROM found WHERE destination IS NOT NULL
"""


async def find_destinations_waiting(tx: Connection) -> list[ServerName]:
    """The servers for which anything waits."""
    return [ServerName(row["destination"]) for row in await tx.fetch(FIND_DESTINATIONS_WAITING)]


DELETE_OUTBOX = """
DELETE FROM to_device_outbox AS o USING unnest($1::text[], $2::bigint[]) AS done (destination, number)
WHERE o.destination = done.destination AND o.number <= done.number
"""


async def delete_outbox(tx: Connection, up_to: Mapping[ServerName, int]) -> None:
    """Remove what these servers have, up to a number each."""
    await tx.execute(DELETE_OUTBOX, list(up_to), list(up_to.values()))


REAP_OUTBOX = "DELETE FROM to_device_outbox WHERE created_at < clock_timestamp() - interval '60 days'"


async def reap(tx: Connection) -> None:
    """Remove messages older than 60 days: their sessions are long replaced."""
    await tx.execute(REAP_OUTBOX)
