"""Storing events that are new: one set statement for the events of many rooms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.relations import Relation
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.state import bigint_array


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to be stored, without its position. `snapshot` is the state before it; an outlier has none.
    `redacts_id`: the event that it redacts, where that one is not stored yet. `is_stored`: it is an outlier that is
    stored already, under this nid, and now gets its place."""

    nid: int
    event_id: EventId
    type: str
    state_key: str | None
    sender: UserId
    origin_server_ts: int
    depth: int
    prev_nids: tuple[int, ...]
    auth_nids: tuple[int, ...]
    body: bytes
    snapshot: int | None
    replaces: int | None = None
    outlier: bool = False
    soft_failed: bool = False
    rejected: str | None = None
    notify_class: int = 0
    thread_id: EventId | None = None
    relation: Relation | None = None
    redacts_id: EventId | None = None
    is_stored: bool = False


class PlacedEvent(NamedTuple):
    """A new event, its room, and its place in the timeline: `position` None for an outlier; `minor` is below 0 for
    history that was fetched into the hole before `position`."""

    event: NewEvent
    room_nid: int
    position: int | None
    minor: int = 0


INSERT_EVENTS = """
INSERT INTO events (nid, room_nid, position, minor, depth, origin_server_ts, snapshot, replaces, notify_class,
                    soft_failed, event_id, type, state_key, sender, rejected, prev_nids, auth_nids, body, redacts_id,
                    thread_id)
SELECT nid, room_nid, position, minor, depth, origin_server_ts, snapshot, replaces, notify_class, soft_failed,
       event_id, type, state_key, sender, rejected, prev_nids::bigint[], auth_nids::bigint[], body, redacts_id,
       thread_id
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::smallint[], $10::boolean[], $11::text[], $12::text[], $13::text[], $14::text[],
            $15::text[], $16::text[], $17::text[], $18::bytea[], $19::text[], $20::text[])
     AS new (nid, room_nid, position, minor, depth, origin_server_ts, snapshot, replaces, notify_class, soft_failed,
             event_id, type, state_key, sender, rejected, prev_nids, auth_nids, body, redacts_id, thread_id)
"""


async def insert_events(tx: Connection, codec: Codec, placed: Sequence[PlacedEvent]) -> None:
    """Store the events, none of which is stored yet unless it says so."""
    stored = [each for each in placed if each.event.is_stored]
    if stored:
        await _place_outliers(tx, stored)
        placed = [each for each in placed if not each.event.is_stored]
    if not placed:
        return
    events = [each.event for each in placed]
    await tx.execute(
        INSERT_EVENTS,
        [event.nid for event in events],
        [each.room_nid for each in placed],
        [each.position for each in placed],
        [each.minor for each in placed],
        [event.depth for event in events],
        [event.origin_server_ts for event in events],
        [event.snapshot for event in events],
        [event.replaces for event in events],
        [event.notify_class for event in events],
        [event.soft_failed for event in events],
        [event.event_id for event in events],
        [event.type for event in events],
        [event.state_key for event in events],
        [event.sender for event in events],
        [event.rejected for event in events],
        [bigint_array(event.prev_nids) for event in events],
        [bigint_array(event.auth_nids) for event in events],
        [codec.encode(event.body) for event in events],
        [event.redacts_id for event in events],
        [event.thread_id for event in events],
    )


PLACE_OUTLIERS = """
UPDATE events AS e
SET position = new.position, minor = new.minor, snapshot = new.snapshot, replaces = new.replaces,
    notify_class = new.notify_class, soft_failed = new.soft_failed, rejected = new.rejected,
    prev_nids = new.prev_nids::bigint[], redacts_id = new.redacts_id, thread_id = new.thread_id
FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[], $6::smallint[], $7::boolean[],
            $8::text[], $9::text[], $10::text[], $11::text[])
     AS new (nid, position, minor, snapshot, replaces, notify_class, soft_failed, rejected, prev_nids, redacts_id,
             thread_id)
WHERE e.nid = new.nid
"""


async def _place_outliers(tx: Connection, placed: Sequence[PlacedEvent]) -> None:
    """What was not known of the events while they were outliers; their bodies and what authorises them stay."""
    events = [each.event for each in placed]
    await tx.execute(
        PLACE_OUTLIERS,
        [event.nid for event in events],
        [each.position for each in placed],
        [each.minor for each in placed],
        [event.snapshot for event in events],
        [event.replaces for event in events],
        [event.notify_class for event in events],
        [event.soft_failed for event in events],
        [event.rejected for event in events],
        [bigint_array(event.prev_nids) for event in events],
        [event.redacts_id for event in events],
        [event.thread_id for event in events],
    )
