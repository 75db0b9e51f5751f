"""Events for one reader: what `unsigned` tells beside the stored row, loaded for many events at once.

`ClientEvents.load_surroundings` asks for everything that a list of events needs, in one query for each kind;
`ClientEvents.event` then makes the bytes of each without waiting for anything.

Spec: https://spec.matrix.org/v1.19/client-server-api/#definition-clientevent
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.events.aggregations import Aggregation, load_aggregations
from tim_server.services.events.client_format import (
    EventHeads,
    client_event,
    content_json,
    event_head,
    federation_event,
)
from tim_server.services.events.membership_history import NO_HISTORY, Histories
from tim_server.services.events.visibility import EventVisibility, load_histories
from tim_server.storage.client_transactions import load_transaction_ids
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow, load_events


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads: the user, and the device whose transaction ids they may see."""

    user_id: UserId
    device_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is told of events beside their rows. `replaced` holds rows that the reader may see, `replaced_ids` also the
    ids of others; `histories` the reader's memberships by room; `aggregations` what is told of children, by parent."""

    redactions: Mapping[int, EventRow] = field(default_factory=dict)
    replaced: Mapping[int, EventRow] = field(default_factory=dict)
    replaced_ids: Mapping[int, EventId] = field(default_factory=dict)
    transaction_ids: Mapping[int, str] = field(default_factory=dict)
    histories: Histories = field(default_factory=dict)
    aggregations: Mapping[int, Aggregation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEvents:
    """Makes events as clients read them."""

    codec: Codec
    visibility: EventVisibility
    now_ms: Callable[[], int]
    heads: EventHeads = field(default_factory=EventHeads)

    async def load_surroundings(
        self,
        tx: Connection,
        reader: Reader,
        rows: Sequence[EventRow],
        histories: Histories | None = None,
        *,
        parents: Sequence[EventRow] = (),
    ) -> Surroundings:
        """What the events of `rows` need; `histories`, where the caller has the reader's already. Of those that are
        `parents` too, what their children add up to is told."""
        if histories is None:
            histories = await load_histories(tx, reader.user_id, {row.room_nid for row in rows})
        aggregations: Mapping[int, Aggregation] = {}
        if parents:
            aggregations = await load_aggregations(tx, self.visibility, reader.user_id, parents, histories)
            rows = [*rows, *(row for aggregation in aggregations.values() for row in aggregation.events)]
        redacting = {row.redacted_by for row in rows if row.redacted_by is not None}
        replaced = {row.replaces for row in rows if row.replaces is not None}
        beside = await load_events(tx, self.codec, redacting | replaced)
        replaced_rows = [beside[nid] for nid in replaced if nid in beside]
        seen = await self.visibility.visible(tx, reader.user_id, replaced_rows, histories)
        own = [row.nid for row in rows if row.sender == reader.user_id]
        known = await load_transaction_ids(tx, own, reader.user_id, reader.device_id) if reader.device_id else {}
        return Surroundings(
            redactions={nid: beside[nid] for nid in redacting if nid in beside},
            replaced={row.nid: row for row in seen},
            replaced_ids={row.nid: row.event_id for row in replaced_rows},
            transaction_ids=known,
            histories=histories,
            aggregations=aggregations,
        )

    def event(
        self, row: EventRow, version: RoomVersion, surroundings: Surroundings, *, room_id: RoomId | None = None
    ) -> bytes:
        """The event's JSON; without `room_id` in the form that `/sync` uses."""
        unsigned = self.unsigned(row, version, surroundings, room_id=room_id)
        return client_event(self.heads.head(row, version), room_id=room_id, unsigned=unsigned)

    def federation_event(self, row: EventRow, version: RoomVersion, surroundings: Surroundings) -> bytes:
        """The event's PDU with `unsigned`, for filters that ask for the federation format."""
        return federation_event(row, version, unsigned=self.unsigned(row, version, surroundings))

    def unsigned(
        self, row: EventRow, version: RoomVersion, surroundings: Surroundings, *, room_id: RoomId | None = None
    ) -> bytes:
        """The JSON object `unsigned` of the event."""
        parts = [b'{"age":%d' % (self.now_ms() - row.origin_server_ts)]
        if row.position is not None:
            history = surroundings.histories.get(row.room_nid, NO_HISTORY)
            membership = orjson.dumps(history.after((row.position, row.minor)))
            # The second name is the one that clients knew before the property was specified.
            parts.append(b',"membership":%b,"io.element.msc4115.membership":%b' % (membership, membership))
        transaction_id = surroundings.transaction_ids.get(row.nid)
        if transaction_id is not None:
            parts.append(b',"transaction_id":' + orjson.dumps(transaction_id))
        if row.replaces is not None:
            parts += _of_replaced(row.replaces, version, surroundings)
        if row.redacted_by is not None and row.redacted_by in surroundings.redactions:
            redaction = surroundings.redactions[row.redacted_by]
            parts.append(b',"redacted_because":' + self._redaction(redaction, version, surroundings, room_id))
        aggregation = surroundings.aggregations.get(row.nid)
        if aggregation is not None:
            parts.append(b',"m.relations":{%b}' % self._relations(aggregation, version, surroundings, room_id))
        parts.append(b"}")
        return b"".join(parts)

    def _relations(
        self, aggregation: Aggregation, version: RoomVersion, surroundings: Surroundings, room_id: RoomId | None
    ) -> bytes:
        """The members of `m.relations`; events within have the form of the event around them."""
        parts = []
        if aggregation.edit is not None:
            parts.append(b'"m.replace":' + self.event(aggregation.edit, version, surroundings, room_id=room_id))
        thread = aggregation.thread
        if thread is not None:
            latest = self.event(thread.latest, version, surroundings, room_id=room_id)
            participated = b"true" if thread.participated else b"false"
            parts.append(
                b'"m.thread":{"latest_event":%b,"count":%d,"current_user_participated":%b}'
                % (latest, thread.count, participated)
            )
        if aggregation.references:
            chunk = orjson.dumps([{"event_id": event_id} for event_id in aggregation.references])
            parts.append(b'"m.reference":{"chunk":%b}' % chunk)
        return b",".join(parts)

    def _redaction(
        self, row: EventRow, version: RoomVersion, surroundings: Surroundings, room_id: RoomId | None
    ) -> bytes:
        """The redaction as a client event; what redacted the redaction itself is not told."""
        age = b'{"age":%d}' % (self.now_ms() - row.origin_server_ts)
        return client_event(event_head(row, version), room_id=room_id, unsigned=age)


def _of_replaced(nid: int, version: RoomVersion, surroundings: Surroundings) -> list[bytes]:
    """What is told of the state event that was replaced: its id always, its content to those who may see it."""
    parts = []
    event_id = surroundings.replaced_ids.get(nid)
    if event_id is not None:
        parts.append(b',"replaces_state":' + orjson.dumps(event_id))
    replaced = surroundings.replaced.get(nid)
    if replaced is not None:
        parts.append(b',"prev_sender":' + orjson.dumps(replaced.sender))
        parts.append(b',"prev_content":' + content_json(replaced, version))
    return parts
