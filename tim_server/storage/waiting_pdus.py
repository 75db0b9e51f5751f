"""Events that were received and can't be judged before others are fetched. Not derived: who sent them was told that
they are here.

They wait in order, by room and by the server that sent them, and go when they are taken in or given up.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="waiting_pdus",
        owner="services.rooms.remote.waiting_events",
        bound="federation.waiting_events_max rows a server, a quarter of it in one room, of up to 64 KiB",
        reaper="what takes them in, or gives them up after some hours",
    ),
)

WAITING = "waiting"
"""The commit log's stream of servers whose events wait."""

POSTPONED = "postponed"
"""The commit log's stream of servers whose events wait until these can be reached again."""

PDUS_PER_READ = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPdus:
    """Events of one room and server: PDUs by number, and how often they have been tried."""

    pdus: Mapping[int, bytes]
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRoom:
    """A room with events of a server that are due."""

    room_nid: int
    room_id: RoomId
    origin: ServerName


COUNT_WAITING = """
SELECT (SELECT count(*) FROM waiting_pdus WHERE room_nid = $1) AS of_room,
       (SELECT count(*) FROM waiting_pdus WHERE origin = $2) AS of_origin
"""
INSERT_WAITING = """
INSERT INTO waiting_pdus (room_nid, origin, due_ts, event_id, pdu)
SELECT $1, $2, $3, new.event_id, new.pdu
FROM unnest($4::text[], $5::bytea[]) WITH ORDINALITY AS new (event_id, pdu, number)
ORDER BY new.number LIMIT $6
ON CONFLICT (room_nid, origin, event_id) DO UPDATE SET due_ts = excluded.due_ts
RETURNING event_id
"""


async def insert_waiting(
    tx: Connection, codec: Codec, due: DueRoom, pdus: Mapping[EventId, bytes], *, due_ts: int, waiting_max: int
) -> set[EventId]:
    """Have events wait, as many as there is room for; those that now do. What several servers send waits for each: each
    may be the only one that can be asked about what lacks, or the only one that sent the event as it is."""
    counts = await tx.fetchrow(COUNT_WAITING, due.room_nid, due.origin)
    left = min(waiting_max - counts["of_origin"], waiting_max // 4 - counts["of_room"]) if counts else 0
    rows = await tx.fetch(
        INSERT_WAITING,
        due.room_nid,
        due.origin,
        due_ts,
        [*pdus],
        [codec.encode(pdu) for pdu in pdus.values()],
        max(left, 0),
    )
    return {EventId(row["event_id"]) for row in rows}


FIND_DUE = """
SELECT DISTINCT ON (w.room_nid) w.room_nid, r.room_id, w.origin
FROM waiting_pdus AS w JOIN rooms AS r ON r.nid = w.room_nid
WHERE w.due_ts <= $1 AND w.room_nid <> ALL($2) AND w.origin <> ALL($3)
ORDER BY w.room_nid, w.number LIMIT $4
"""


async def find_due(
    tx: Connection, now_ms: int, *, but_rooms: Collection[int], but_origins: Collection[str], limit: int
) -> list[DueRoom]:
    """Rooms in which events are due, each with the server whose event is the oldest there."""
    rows = await tx.fetch(FIND_DUE, now_ms, list(but_rooms), list(but_origins), limit)
    return [
        DueRoom(room_nid=row["room_nid"], room_id=RoomId(row["room_id"]), origin=ServerName(row["origin"]))
        for row in rows
    ]


NEXT_DUE = "SELECT min(due_ts) FROM waiting_pdus WHERE due_ts > $1"


async def find_next_due(tx: Connection, now_ms: int) -> int | None:
    """When something will be due that is not yet; milliseconds since the epoch."""
    due_ts: int | None = await tx.fetchval(NEXT_DUE, now_ms)
    return due_ts


LOAD_WAITING = """
SELECT number, pdu, attempts FROM waiting_pdus WHERE room_nid = $1 AND origin = $2 AND due_ts <= $3
ORDER BY number LIMIT $4
"""


async def load_waiting(tx: Connection, codec: Codec, due: DueRoom, now_ms: int) -> WaitingPdus:
    """The oldest events that are due, at most `PDUS_PER_READ`."""
    rows = await tx.fetch(LOAD_WAITING, due.room_nid, due.origin, now_ms, PDUS_PER_READ)
    return WaitingPdus(
        pdus={row["number"]: codec.decode(row["pdu"]) for row in rows},
        attempts=max((row["attempts"] for row in rows), default=0),
    )


DELETE_WAITING = "DELETE FROM waiting_pdus WHERE number = ANY($1)"


async def delete_waiting(tx: Connection, numbers: Sequence[int]) -> None:
    """Let events go."""
    await tx.execute(DELETE_WAITING, list(numbers))


POSTPONE_WAITING = "UPDATE waiting_pdus SET attempts = attempts + 1, due_ts = $2 WHERE number = ANY($1)"


async def postpone_waiting(tx: Connection, numbers: Sequence[int], due_ts: int) -> None:
    """Have events tried again later."""
    await tx.execute(POSTPONE_WAITING, list(numbers), due_ts)


HASTEN_WAITING = """
UPDATE waiting_pdus SET due_ts = $2, attempts = greatest(attempts - 1, 0) WHERE origin = ANY($1) AND due_ts > $2
RETURNING origin
"""


async def hasten_waiting(tx: Connection, origins: Collection[ServerName], due_ts: int) -> set[ServerName]:
    """Have events of servers that are there again tried by then; the servers that have any. If that fails too, it
    counts as one failure."""
    return {ServerName(row["origin"]) for row in await tx.fetch(HASTEN_WAITING, list(origins), due_ts)}


HASTEN_ROOM = "UPDATE waiting_pdus SET due_ts = $2 WHERE room_nid = $1 AND due_ts > $2 RETURNING origin"


async def hasten_room(tx: Connection, room_nid: int, due_ts: int) -> set[ServerName]:
    """Have what waits in a room tried by then; the servers that sent it."""
    return {ServerName(row["origin"]) for row in await tx.fetch(HASTEN_ROOM, room_nid, due_ts)}


FIND_AWAITED = "SELECT DISTINCT origin FROM waiting_pdus WHERE attempts > 0"


async def find_awaited(tx: Connection) -> set[ServerName]:
    """The servers whose events wait until these can be reached again."""
    return {ServerName(row["origin"]) for row in await tx.fetch(FIND_AWAITED)}


COUNT_ALL_WAITING = "SELECT count(*) FROM waiting_pdus"


async def count_waiting(tx: Connection) -> int:
    """How many events wait."""
    count: int = await tx.fetchval(COUNT_ALL_WAITING)
    return count
