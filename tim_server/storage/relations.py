"""Relations between events: derived from the content of the children, for questions that begin with a parent.

There is a row for each child that clients may be shown and that is not redacted; its parent may not be stored.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.relations import ANNOTATION, Relation
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="relations",
        owner="storage.room_commits",
        bound="one row an event that relates to another",
        reaper="redaction, room purge",
        derived=True,
    ),
)

RelationRow: TypeAlias = tuple[Any, ...]
"""All columns of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelation:
    """An event that relates to another, at its place in the timeline."""

    event_nid: int
    room_nid: int
    event_id: EventId
    relation: Relation
    type: str
    sender: UserId
    origin_server_ts: int
    position: int
    minor: int = 0

    def as_row(self, codec: Codec) -> RelationRow:
        """The row of the table, its columns in their order."""
        relation, fingerprint = self.relation, None
        if relation.rel_type == ANNOTATION and relation.key is not None:
            fingerprint = annotation_fingerprint(codec, relation, self.type, self.sender)
        return (
            self.event_nid,
            self.room_nid,
            self.event_id,
            relation.event_id,
            relation.rel_type,
            self.type,
            self.sender,
            self.origin_server_ts,
            self.position,
            self.minor,
            fingerprint,
        )


def annotation_fingerprint(codec: Codec, annotation: Relation, event_type: str, sender: UserId) -> bytes:
    """A keyed hash of what makes two annotations the same; the key itself is content, which no column tells."""
    return codec.fingerprint(orjson.dumps([annotation.event_id, annotation.key, event_type, sender]))


INSERT_RELATIONS = """
INSERT INTO relations (event_nid, room_nid, event_id, relates_to_id, rel_type, type, sender, origin_server_ts,
                       position, minor, annotation)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::bigint[], $9::bigint[], $10::integer[], $11::bytea[])
"""


async def insert_relations(tx: Connection, rows: Sequence[RelationRow]) -> None:
    """Store what events relate to."""
    if rows:
        await tx.execute(INSERT_RELATIONS, *map(list, zip(*rows, strict=True)))


DELETE_RELATIONS = "DELETE FROM relations WHERE event_nid = ANY($1)"


async def delete_relations(tx: Connection, event_nids: Sequence[int]) -> None:
    """Take away the relations of these events, which are redacted."""
    await tx.execute(DELETE_RELATIONS, event_nids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A stored event that others relate to: the thread that it is in, and whether it relates to another itself."""

    thread_id: EventId | None
    is_child: bool


LOAD_PARENTS = """
SELECT e.event_id, e.thread_id, r.event_nid IS NOT NULL AS is_child
FROM events AS e LEFT JOIN relations AS r ON r.event_nid = e.nid
WHERE e.event_id = ANY($2) AND e.room_nid = $1
"""


async def load_parents(tx: Connection, room_nid: int, event_ids: Collection[EventId]) -> dict[EventId, Parent]:
    """Those of these events that are stored in the room."""
    return {
        EventId(row["event_id"]): Parent(
            thread_id=None if row["thread_id"] is None else EventId(row["thread_id"]), is_child=row["is_child"]
        )
        for row in await tx.fetch(LOAD_PARENTS, room_nid, list(event_ids))
    }


FIND_ANNOTATIONS = "SELECT DISTINCT annotation FROM relations WHERE annotation = ANY($1)"


async def find_annotations(tx: Connection, fingerprints: Iterable[bytes]) -> set[bytes]:
    """Those of these fingerprints that an annotation has."""
    return {row["annotation"] for row in await tx.fetch(FIND_ANNOTATIONS, list(fingerprints))}
