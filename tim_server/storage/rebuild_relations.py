"""Relations of a room, derived from its events; part of `storage.rebuild`."""

from collections.abc import AsyncIterator

import asyncpg

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.relations import relation_of
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.relations import NewRelation, RelationRow, insert_relations

EVENTS_AT_ONCE = 1_000

NEXT_EVENTS = """
SELECT nid, event_id, type, state_key, sender, origin_server_ts, position, minor, body FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) > ($2, $3)
  AND rejected IS NULL AND NOT soft_failed AND redacted_by IS NULL
ORDER BY position, minor LIMIT $4
"""


async def derive_relations(tx: Connection, codec: Codec, room_nid: int) -> frozenset[RelationRow]:
    """What the table should hold of the room."""
    rows = set()
    async for event in _events(tx, room_nid):
        body = codec.decode(event["body"])
        if b'"m.relates_to"' not in body:
            continue
        content = decode_lenient(body).get("content")
        relation = relation_of(event["type"], event["state_key"], content) if isinstance(content, dict) else None
        if relation is not None:
            child = NewRelation(
                event_nid=event["nid"],
                room_nid=room_nid,
                event_id=EventId(event["event_id"]),
                relation=relation,
                type=event["type"],
                sender=UserId(event["sender"]),
                origin_server_ts=event["origin_server_ts"],
                position=event["position"],
                minor=event["minor"],
            )
            rows.add(child.as_row(codec))
    return frozenset(rows)


async def _events(tx: Connection, room_nid: int) -> AsyncIterator[asyncpg.Record]:
    """The room's timeline, some events at once."""
    place = (-1, 0)
    while some := await tx.fetch(NEXT_EVENTS, room_nid, *place, EVENTS_AT_ONCE):
        for row in some:
            yield row
        place = (some[-1]["position"], some[-1]["minor"])


READ_RELATIONS = """
SELECT event_nid, room_nid, event_id, relates_to_id, rel_type, type, sender, origin_server_ts, position, minor,
       annotation
FROM relations WHERE room_nid = $1
"""


async def read_relations(tx: Connection, room_nid: int) -> frozenset[RelationRow]:
    """What the table holds of the room."""
    return frozenset(tuple(row) for row in await tx.fetch(READ_RELATIONS, room_nid))


DELETE_OF_ROOM = "DELETE FROM relations WHERE room_nid = $1"


async def write_relations(tx: Connection, room_nid: int, rows: frozenset[RelationRow]) -> None:
    """Have the table hold exactly these rows of the room."""
    await tx.execute(DELETE_OF_ROOM, room_nid)
    await insert_relations(tx, list(rows))
