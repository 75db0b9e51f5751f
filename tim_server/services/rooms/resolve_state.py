"""Resolving conflicting states of a room: loads what the algorithm needs, and runs heavy cases in another process.

Spec: https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
"""

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.matrix.state_resolution import conflict_of, memberships_to_load, plan_resolution, resolve_conflict
from tim_server.services.process_pool import ProcessPool
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.storage.database import Database
from tim_server.storage.events import AuthNode, load_auth_graph

StateNids = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An event that is not stored yet, with the nids it will have."""

    node: AuthNode
    event: Event


@dataclass(slots=True)
class StateResolver:
    """Resolves state sets. `inline_events_max`: with more events than these the work leaves this process."""

    database: Database
    parsed: ParsedEvents
    inline_events_max: int = 100
    pool: ProcessPool = field(default_factory=lambda: ProcessPool(work="resolve states"))

    async def resolve(
        self, version: RoomVersion, state_sets: Sequence[StateNids], pending: Mapping[int, Pending]
    ) -> dict[tuple[str, str], int]:
        """The resolved state of these sets, as nids. `pending` are events that the store does not have yet."""
        if all(state_set == state_sets[0] for state_set in state_sets[1:]):
            return dict(state_sets[0])
        nodes = await self._load_graph(state_sets, pending)
        await asyncio.sleep(0)
        ids = {nid: node.event_id for nid, node in nodes.items()}
        graph = {node.event_id: [ids[nid] for nid in node.auth_nids if nid in ids] for node in nodes.values()}
        id_sets = [{key: ids[nid] for key, nid in state_set.items()} for state_set in state_sets]
        by_id = {node.event_id: nid for nid, node in nodes.items()}
        plan = plan_resolution(version, id_sets, graph)
        await asyncio.sleep(0)  # other rooms get a turn between the steps of a heavy one
        events = await self._load_events(version, plan.event_ids, by_id, pending)
        events |= await self._load_events(version, memberships_to_load(plan, events), by_id, pending)
        await asyncio.sleep(0)
        rejected = frozenset(node.event_id for node in nodes.values() if node.rejected)
        conflict = conflict_of(plan, events, rejected)
        await asyncio.sleep(0)
        if len(events) <= self.inline_events_max:
            resolved = plan.merged(resolve_conflict(conflict))
        else:
            resolved = plan.merged(await self.pool.run(resolve_conflict, conflict))
        return {key: by_id[event_id] for key, event_id in resolved.items()}

    async def close(self) -> None:
        """Stop the processes."""
        self.pool.close()

    async def _load_graph(self, state_sets: Sequence[StateNids], pending: Mapping[int, Pending]) -> dict[int, AuthNode]:
        roots = {nid for state_set in state_sets for nid in state_set.values()}
        roots |= {nid for item in pending.values() for nid in item.node.auth_nids}
        async with self.database.connection() as connection:
            nodes = await load_auth_graph(connection, roots - pending.keys())
        return nodes | {nid: item.node for nid, item in pending.items()}

    async def _load_events(
        self,
        version: RoomVersion,
        wanted: Set[EventId],
        by_id: Mapping[EventId, int],
        pending: Mapping[int, Pending],
    ) -> dict[EventId, Event]:
        nids = {by_id[event_id] for event_id in wanted}
        stored = await self.parsed.load(nids - pending.keys(), version)
        events = [*stored.values(), *(pending[nid].event for nid in nids & pending.keys())]
        return {event.event_id: event for event in events}
