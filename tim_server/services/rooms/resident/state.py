"""Give other servers the state of a room before an event, and the auth chains of events.

A large room's state has tens of thousands of events. Their nids are few bytes; the events are read and told some
hundreds at a time, as fast as they are taken, so that no answer is ever held as a whole.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.services.events.client_format import visible_pdu
from tim_server.services.events.erased_users import WITHHELD
from tim_server.services.events.server_visibility import ServerVisibility
from tim_server.services.rooms.resident.admit import Admission, Admitted
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.event_graph import load_auth_chain
from tim_server.storage.events import EventRow, load_events_by_id
from tim_server.storage.pdus import load_event_ids, load_pdus
from tim_server.storage.state import SnapshotCache

CREATE = ("m.room.create", "")
EVENTS_PER_READ = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class StateIds:
    """The ids of the events of a state, and of its auth chain."""

    pdu_ids: list[EventId]
    auth_chain_ids: list[EventId]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePdus:
    """The PDUs of a state and of its auth chain, some at a time."""

    pdus: AsyncIterator[Sequence[bytes]]
    auth_chain: AsyncIterator[Sequence[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An event of the room, whether the server that asks may see it as it is, and the nids of what is told."""

    admitted: Admitted
    is_seen: bool
    state: Sequence[int]
    auth_chain: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentState:
    """Reads states and auth chains as other servers get them. All methods raise `NotFound` where the event is not in
    the room, or this server is not, and `Forbidden` for servers that are not in the room.

    State is told to every server in the room, which needs it in order to verify events. To one that may not see the
    event that it asks about, state that is no longer in place is told in redacted form, which still verifies.
    """

    admission: Admission
    database: Database
    codec: Codec
    snapshots: SnapshotCache
    visibility: ServerVisibility

    async def pdus(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> StatePdus:
        """The state before the event; `NotFound` also where it is not known."""
        found = await self._find_state(origin, room_id, event_id)
        return StatePdus(pdus=self._told(found, found.state), auth_chain=self._told(found, found.auth_chain))

    async def ids(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> StateIds:
        """As `pdus`, the ids alone."""
        found = await self._find_state(origin, room_id, event_id)
        async with self.database.read() as tx:
            return StateIds(
                pdu_ids=await load_event_ids(tx, found.state),
                auth_chain_ids=await load_event_ids(tx, found.auth_chain),
            )

    async def auth_chain(
        self, origin: ServerName, room_id: RoomId, event_id: EventId
    ) -> AsyncIterator[Sequence[bytes]]:
        """The PDUs of the event's auth chain, the event itself left out."""
        admitted = await self.admission.to_room(room_id, origin)
        async with self.database.read() as tx:
            row = await self._load_event(tx, admitted, event_id)
            chain = await load_auth_chain(tx, [row.nid])
            is_seen = not await self.visibility.hidden(tx, admitted.asking, [row])
        create = admitted.head.state.get(CREATE)
        if create is not None and create not in chain and create != row.nid:
            chain = [create, *chain]  # which since v12 no event names
        return self._told(_Found(admitted=admitted, is_seen=is_seen, state=(), auth_chain=chain), chain)

    async def _find_state(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> _Found:
        admitted = await self.admission.to_room(room_id, origin)
        async with self.database.read() as tx:
            row = await self._load_event(tx, admitted, event_id)
            if row.snapshot is None or row.rejected is not None:
                raise NotFound("The state before this event is not known here")
            state = (await self.snapshots.load(tx, [row.snapshot])).get(row.snapshot, frozenset())
            return _Found(
                admitted=admitted,
                is_seen=not await self.visibility.hidden(tx, admitted.asking, [row]),
                state=sorted(state),
                auth_chain=await load_auth_chain(tx, state),
            )

    async def _load_event(self, tx: Connection, admitted: Admitted, event_id: EventId) -> EventRow:
        row = (await load_events_by_id(tx, self.codec, [event_id])).get(event_id)
        if row is None or row.room_nid != admitted.head.nid:
            raise NotFound("There is no such event in the room")
        return row

    async def _told(self, found: _Found, nids: Sequence[int]) -> AsyncIterator[Sequence[bytes]]:
        asking, version = found.admitted.asking, found.admitted.head.version
        in_place = None if found.is_seen else frozenset(asking.state.values())
        for start in range(0, len(nids), EVENTS_PER_READ):
            async with self.database.connection() as connection:
                pdus = await load_pdus(connection, self.codec, nids[start : start + EVENTS_PER_READ])
            if in_place is not None:
                pdus = [
                    pdu
                    if pdu.nid in in_place or pdu.sender.server_name == asking.name
                    else pdu._replace(redacted_by=WITHHELD)
                    for pdu in pdus
                ]
            yield [visible_pdu(pdu, version) for pdu in pdus]
