"""Events: the log. A row holds what queries need, and the body: the PDU as it was signed, through the codec.

`position` and `minor` give the order of the timeline (outliers have none); `snapshot` is the state before the event;
`replaces` the state event that it replaced; `thread_id` the root of the thread that it belongs to. `prev_nids` and
`auth_nids` are the edges to events that are stored. Bodies never change; `redacted_by`, `rejected` and `soft_failed`
may. `redacts_id` names what a redaction redacts, where that was not stored when the redaction came.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (TableContract(name="events", owner="storage.room_commits", bound="one row an event", reaper="room purge"),)

EVENT_COLUMNS = (
    "nid, room_nid, position, minor, depth, origin_server_ts, snapshot, redacted_by, replaces, notify_class, "
    "soft_failed, event_id, type, state_key, sender, thread_id, rejected, prev_nids, auth_nids, body"
)


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored event. `body` is the PDU's JSON, decoded by the codec.

    A struct, because answers are made of thousands of them: making a frozen dataclass takes fifteen times as long.
    """

    nid: int
    room_nid: int
    position: int | None
    minor: int
    depth: int
    origin_server_ts: int
    snapshot: int | None
    redacted_by: int | None
    replaces: int | None
    notify_class: int
    soft_failed: bool
    event_id: EventId
    type: str
    state_key: str | None
    sender: UserId
    thread_id: EventId | None
    rejected: str | None
    prev_nids: Sequence[int]
    auth_nids: Sequence[int]
    body: bytes


def read_row(row: Any, codec: Codec) -> EventRow:
    """The record of a row that selects `EVENT_COLUMNS`."""
    fields = dict(row.items())
    fields["body"] = codec.decode(fields["body"])
    fields["event_id"] = EventId(fields["event_id"])
    fields["sender"] = UserId(fields["sender"])
    return EventRow(**fields)


LOAD_EVENTS = f"SELECT {EVENT_COLUMNS} FROM events WHERE nid = ANY($1)"


async def load_events(tx: Connection, codec: Codec, nids: Iterable[int]) -> dict[int, EventRow]:
    """The events of these nids; those that are not stored are left out."""
    wanted = list(nids)
    if not wanted:
        return {}
    return {row["nid"]: read_row(row, codec) for row in await tx.fetch(LOAD_EVENTS, wanted)}


LOAD_EVENTS_BY_ID = f"SELECT {EVENT_COLUMNS} FROM events WHERE event_id = ANY($1)"


async def load_events_by_id(tx: Connection, codec: Codec, event_ids: Iterable[str]) -> dict[EventId, EventRow]:
    """The events of these ids; those that are not stored are left out."""
    wanted = list(event_ids)
    if not wanted:
        return {}
    rows = (read_row(row, codec) for row in await tx.fetch(LOAD_EVENTS_BY_ID, wanted))
    return {row.event_id: row for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventNode:
    """A stored event without its body: where it is, whether it was rejected, whether it is an outlier, and whether the
    state before it is known."""

    nid: int
    room_nid: int
    rejected: bool
    outlier: bool
    has_state: bool


LOAD_NODES_BY_ID = """
SELECT event_id, nid, room_nid, rejected IS NOT NULL AS rejected, position IS NULL AS outlier,
       snapshot IS NOT NULL AS has_state
FROM events WHERE event_id = ANY($1)
"""


async def load_nodes_by_id(tx: Connection, event_ids: Iterable[str]) -> dict[EventId, EventNode]:
    """The events of these ids, without their bodies; those that are not stored are left out."""
    return {
        EventId(row["event_id"]): EventNode(
            nid=row["nid"],
            room_nid=row["room_nid"],
            rejected=row["rejected"],
            outlier=row["outlier"],
            has_state=row["has_state"],
        )
        for row in await tx.fetch(LOAD_NODES_BY_ID, list(event_ids))
    }


LOAD_REDACTED = "SELECT nid FROM events WHERE nid = ANY($1) AND redacted_by IS NOT NULL"


async def load_redacted(tx: Connection, nids: Iterable[int]) -> set[int]:
    """Those of these events that are redacted."""
    return {row["nid"] for row in await tx.fetch(LOAD_REDACTED, list(nids))}


REDACTIONS_MAX = 100

LOAD_EARLY_REDACTIONS = f"""
SELECT {EVENT_COLUMNS}, redacts_id FROM events
WHERE redacts_id = ANY($2) AND room_nid = $1 AND snapshot IS NOT NULL AND rejected IS NULL AND NOT soft_failed
ORDER BY position, minor, nid LIMIT $3
"""


async def load_early_redactions(
    tx: Connection, codec: Codec, room_nid: int, event_ids: Iterable[str]
) -> list[tuple[EventId, EventRow]]:
    """The redactions in this room that came before the events that they name, oldest first, with what they name; of
    more than `REDACTIONS_MAX` the oldest."""
    found = []
    for row in await tx.fetch(LOAD_EARLY_REDACTIONS, room_nid, list(event_ids), REDACTIONS_MAX):
        fields = dict(row.items())
        redacts_id = EventId(fields.pop("redacts_id"))
        found.append((redacts_id, read_row(fields, codec)))
    return found


LOAD_AUTH_GRAPH = """
WITH RECURSIVE chain (nid) AS (
    SELECT unnest($1::bigint[])
    UNION
    SELECT unnest(e.auth_nids) FROM chain JOIN events AS e ON e.nid = chain.nid
)
SELECT e.nid, e.event_id, e.auth_nids, e.rejected IS NOT NULL AS rejected
FROM chain JOIN events AS e ON e.nid = chain.nid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthNode:
    """A node of the auth graph: an event without its body."""

    nid: int
    event_id: EventId
    auth_nids: Sequence[int]
    rejected: bool


async def load_auth_graph(tx: Connection, nids: Iterable[int]) -> dict[int, AuthNode]:
    """The events of these nids and all that their auth chains reach, by nid, in one query."""
    return {
        row["nid"]: AuthNode(
            nid=row["nid"],
            event_id=EventId(row["event_id"]),
            auth_nids=row["auth_nids"],
            rejected=row["rejected"],
        )
        for row in await tx.fetch(LOAD_AUTH_GRAPH, list(nids))
    }


LOAD_HISTORY_VISIBILITY_NIDS = """
SELECT nid FROM events WHERE room_nid = ANY($1) AND type = 'm.room.history_visibility' AND state_key = ''
"""


async def load_history_visibility_nids(tx: Connection, room_nids: Iterable[int]) -> set[int]:
    """The nids of all history visibility events of these rooms, in place or not."""
    return {row["nid"] for row in await tx.fetch(LOAD_HISTORY_VISIBILITY_NIDS, list(room_nids))}


LOAD_BODIES = "SELECT nid, body FROM events WHERE nid = ANY($1)"


async def load_bodies(tx: Connection, codec: Codec, nids: Iterable[int]) -> dict[int, bytes]:
    """The bodies of these events, by nid."""
    wanted = list(nids)
    if not wanted:
        return {}
    return {row["nid"]: codec.decode(row["body"]) for row in await tx.fetch(LOAD_BODIES, wanted)}


LOAD_STATE_WITH_MEMBERS = f"""
SELECT {EVENT_COLUMNS} FROM events WHERE nid = ANY($1) AND (type <> 'm.room.member' OR state_key = ANY($2))
"""


async def load_state_with_members(
    tx: Connection, codec: Codec, nids: Iterable[int], members: Sequence[str]
) -> list[EventRow]:
    """The state events of these nids, of the member events only those of `members`."""
    return [read_row(row, codec) for row in await tx.fetch(LOAD_STATE_WITH_MEMBERS, list(nids), members)]
