"""Entering a room: its state, whose events are stored as outliers, becomes that of a room which this server is in.

Until somebody of this server is joined, nobody looks at the state of a room. So a large one is set in steps of some
hundreds of events, each a small commit, and the last of them places the join event: it alone makes the room's head, its
timeline with a hole before the join, and the memberships of local users visible. Whoever is killed in between begins
anew, and finds what was done before.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import Unavailable
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, ServerName, UserId
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.branches import Branches, State, StateNids, changes_between, pending_of, state_of
from tim_server.services.rooms.changed_memberships import changed_memberships
from tim_server.services.rooms.decide import Decision
from tim_server.services.rooms.head import DEPTH_MAX, RoomHead
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.rooms.queue import DecidedAlone, RoomQueues
from tim_server.services.rooms.resolve_state import StateResolver
from tim_server.storage.events import EventNode, load_nodes_by_id
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import Hole, MembershipChange, RoomCommit, StateChange
from tim_server.storage.store import Store

CHANGES_PER_COMMIT = 1_000
NIDS_PER_DECISION = 4

Changes = Mapping[tuple[str, str], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """The join event, as it is to be stored, and what is stored of the events that it names."""

    join: Event
    new: NewEvent
    nodes: Mapping[EventId, EventNode]

    @property
    def holes(self) -> tuple[Hole, ...]:
        """What lies before the join and is not in the timeline here."""
        missing = tuple(e for e in self.join.prev_events if e not in self.nodes or self.nodes[e].outlier)
        return (Hole(event_index=0, missing=missing),) if missing else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEntry:
    """Brings this server into rooms."""

    server_name: ServerName
    store: Store
    parsed: ParsedEvents
    resolver: StateResolver
    queues: RoomQueues

    async def enter(self, join: Event, before: StateNids) -> EventId:
        """Have a local user's join event become part of the room, `before` the state before it, which allows it; the
        event's id. The room is known, and this server may be in it by now. Raises `Unavailable`."""
        head = await self.queues.heads.get(join.room_id)
        if head is None:
            raise Unavailable("The room was forgotten meanwhile; try again")
        left = list(self._to_set_before(head, before).items())
        while len(left) > CHANGES_PER_COMMIT:
            some, left = dict(left[:CHANGES_PER_COMMIT]), left[CHANGES_PER_COMMIT:]
            await self.queues.submit(join.room_id, DecidedAlone(decide=partial(self._decide_step, some)))
        await self.queues.submit(join.room_id, DecidedAlone(decide=partial(self._decide_join, join, before)))
        return join.event_id

    def _to_set_before(self, head: RoomHead, before: StateNids) -> Changes:
        """What can be set before somebody of this server is joined: all but the memberships of its users."""
        if self._is_in(head):
            return {}
        return {
            key: nid
            for key, nid in changes_between(head.state, before).items()
            if key[0] != MEMBER or UserId(key[1]).server_name != self.server_name
        }

    def _is_in(self, head: RoomHead) -> bool:
        return head.joined_servers.get(self.server_name, 0) > 0

    async def _decide_step(self, wanted: Changes, head: RoomHead) -> Decision:
        """Some of the state."""
        changes = {key: nid for key, nid in wanted.items() if head.state.get(key) != nid}
        if self._is_in(head) or not changes:
            return Decision(answers=((),), commit=None, head=head)
        branches = self._branches(head, iter(await self.store.writer.take_nids(NIDS_PER_DECISION)))
        after = branches.with_changes(state_of(head), changes)
        return await self._decision(head, (after, changes), branches, None)

    async def _decide_join(self, join: Event, before: StateNids, head: RoomHead) -> Decision:
        """The rest of the state, and the join."""
        async with self.store.database.connection() as connection:
            nodes = await load_nodes_by_id(connection, [join.event_id, *join.prev_events, *join.auth_events])
        nodes = {event_id: node for event_id, node in nodes.items() if node.room_nid == head.nid}
        known = nodes.get(join.event_id)
        if known is not None and not known.outlier:
            return Decision(answers=((join.event_id,),), commit=None, head=head)
        nids = iter(await self.store.writer.take_nids(NIDS_PER_DECISION))
        branches = self._branches(head, nids)
        nid = next(nids) if known is None else known.nid
        state_before = branches.changed(state_of(head), before)
        new = _new_event(nid, join, nodes, state_before)
        after = branches.with_event(state_before, (MEMBER, join.state_key or ""), nid)
        branches.pending[nid] = pending_of(nid, join, new.auth_nids, rejected=False)
        if self._is_in(head):
            resolved = await self.resolver.resolve(head.version, [head.state, after.nids], branches.pending)
            after = branches.changed(after, resolved)
        changes = changes_between(head.state, after.nids)
        return await self._decision(head, (after, changes), branches, _Arrival(join=join, new=new, nodes=nodes))

    async def _decision(
        self, head: RoomHead, outcome: tuple[State, Changes], branches: Branches, arrival: _Arrival | None
    ) -> Decision:
        state, changes = outcome
        events = () if arrival is None else (arrival.new,)
        concerned = {*changes, *((MEMBER, new.state_key or "") for new in events)}
        memberships, joined = await changed_memberships(
            partial(self._load, branches, head),
            {key: head.state[key] for key in concerned if key in head.state},
            {key: state.nids[key] for key in concerned if key in state.nids},
            events,
            head.joined_servers,
        )
        after = replace(
            head,
            extremities=self._extremities(head, arrival),
            depth=max([head.depth, *(min(new.depth, DEPTH_MAX) for new in events)]),
            snapshot=state.snapshot,
            snapshot_depth=state.snapshot_depth,
            state=state.nids,
            joined_servers=joined,
        )
        commit = RoomCommit(
            room_nid=head.nid,
            room_id=head.room_id,
            room_version=head.version.identifier,
            expected_version=head.head_version,
            events=events,
            forward_extremities=tuple(nid for nid, _ in after.extremities),
            depth=after.depth,
            snapshot=state.snapshot,
            snapshots=tuple(branches.snapshots),
            state_changes=tuple(StateChange(type=k[0], state_key=k[1], event_nid=nid) for k, nid in changes.items()),
            memberships=memberships,
            holes=() if arrival is None else arrival.holes,
            state_was_reset=self._is_told_otherwise(head, changes, memberships, {new.nid for new in events}),
        )
        joins = () if arrival is None else (arrival.join,)
        return Decision(answers=(tuple(e.event_id for e in joins),), commit=commit, head=after, events=joins)

    def _is_told_otherwise(
        self, head: RoomHead, changes: Changes, memberships: Sequence[MembershipChange], told: Collection[int]
    ) -> bool:
        """Whether clients must ask, as no event tells them: of local users whose membership is another now, and where
        some are in the room already, of whatever has changed."""
        if self._is_in(head):
            return any(nid not in told for nid in changes.values())
        return any(
            change.user_id.server_name == self.server_name and change.event_nid not in told for change in memberships
        )

    def _extremities(self, head: RoomHead, arrival: _Arrival | None) -> tuple[tuple[int, EventId], ...]:
        """What this server last knew of a room that it was out of is history, behind the hole before the join."""
        if arrival is None:
            return head.extremities
        kept = [each for each in head.extremities if self._is_in(head) and each[1] not in arrival.join.prev_events]
        return (*kept, (arrival.new.nid, arrival.new.event_id))

    def _branches(self, head: RoomHead, nids: Iterator[int]) -> Branches:
        return Branches(store=self.store, resolver=self.resolver, version=head.version, room_nid=head.nid, nids=nids)

    async def _load(self, branches: Branches, head: RoomHead, nids: Sequence[int]) -> dict[int, Event]:
        pending = branches.pending
        found = {nid: pending[nid].event for nid in nids if nid in pending}
        return found | await self.parsed.load([nid for nid in nids if nid not in pending], head.version)


def _new_event(nid: int, join: Event, nodes: Mapping[EventId, EventNode], before: State) -> NewEvent:
    """The join event with its place; it may be stored as an outlier already, where another server has told of it."""
    return NewEvent(
        nid=nid,
        event_id=join.event_id,
        type=join.type,
        state_key=join.state_key,
        sender=join.sender,
        origin_server_ts=join.origin_server_ts,
        depth=join.depth,
        prev_nids=tuple(nodes[e].nid for e in join.prev_events if e in nodes),
        auth_nids=tuple(nodes[e].nid for e in join.auth_events if e in nodes),
        body=encode_relaxed(join.pdu),
        snapshot=before.snapshot,
        replaces=before.nids.get((MEMBER, join.state_key or "")),
        is_stored=join.event_id in nodes,
    )
