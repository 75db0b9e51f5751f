"""The state of a room before an event whose history is not here, as a server in the room tells it.

Most of its events are here already: only the ids are asked for then, and what lacks is fetched one by one, or the whole
state where much does.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1state_idsroomid
"""

from collections.abc import Collection
from dataclasses import dataclass

from tim_server.federation.client import FederationClient
from tim_server.federation.events import state, state_ids
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.services.rooms.branches import StateNids
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.remote.fetch_events import EVENTS_MAX, EventFetch
from tim_server.services.rooms.remote.take_in_state import StateIntake, StateRefused
from tim_server.storage.events import EventNode, load_nodes_by_id
from tim_server.storage.state import load_keys_of
from tim_server.storage.store import Store

CREATE = ("m.room.create", "")
HISTORY_VISIBILITY = ("m.room.history_visibility", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBefore:
    """Asks for states."""

    store: Store
    client: FederationClient
    fetching: EventFetch
    intake: StateIntake

    async def load(self, head: RoomHead, server: ServerName, event_id: EventId) -> StateNids:
        """The nids of the state's events by key, once they are stored. Events that can't be had, or do not pass, are
        left out. Raises `StateRefused`, `RemoteError` and what `egress` raises."""
        ids = await state_ids(self.client, server, head.room_id, event_id)
        wanted = {*ids.pdu_ids, *ids.auth_chain_ids}
        missing = wanted - (await self._nodes(wanted)).keys()
        found: StateNids
        if len(missing) > EVENTS_MAX:
            told = await state(self.client, server, head.room_id, event_id)
            found = (await self.intake.take_in(head, told.pdus, told.auth_chain)).state
        else:
            if missing:
                await self.fetching.fetch(head, server, missing)
            found = await self._by_key(head, ids.pdu_ids)
        _check(found, count=len({*ids.pdu_ids}))
        return found

    async def _nodes(self, event_ids: Collection[EventId]) -> dict[EventId, EventNode]:
        async with self.store.database.connection() as connection:
            return await load_nodes_by_id(connection, event_ids)

    async def _by_key(self, head: RoomHead, event_ids: Collection[EventId]) -> dict[tuple[str, str], int]:
        nodes = await self._nodes(event_ids)
        nids = [node.nid for node in nodes.values() if node.room_nid == head.nid and not node.rejected]
        async with self.store.database.connection() as connection:
            keys = await load_keys_of(connection, nids)
        found = {key: nid for nid, key in keys.items()}
        if len(found) < len(nids):
            raise StateRefused("the state holds two events of a type with the same state_key")
        return found


def _check(state: StateNids, *, count: int) -> None:
    """Whatever lacks must not be what decides who sees the history."""
    if count and CREATE not in state:
        raise StateRefused("the state lacks the room's creation")
    if len(state) < count and HISTORY_VISIBILITY not in state:
        raise StateRefused("the state lacks events, of which one may set the history visibility")
