"""States along the branches of a room's graph: before and after events that arrive, stored or not stored yet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tim_server.matrix.events.record import Event
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.resolve_state import Pending, StateResolver
from tim_server.storage.events import AuthNode, EventRow
from tim_server.storage.state import DELTA_DEPTH_MAX, SnapshotRow, load_keys_of, load_snapshot_depths
from tim_server.storage.store import Store

NIDS_AT_ONCE = 512

StateNids = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state, and the snapshot that holds it (0: the empty state)."""

    nids: StateNids
    snapshot: int
    snapshot_depth: int


def state_of(head: RoomHead) -> State:
    """The state of a room now."""
    return State(nids=head.state, snapshot=head.snapshot, snapshot_depth=head.snapshot_depth)


def nids_needed(*, new: int, loaded: int) -> int:
    """How many nids a decision takes at most about so many new events, on the states after so many stored ones: each
    new one for itself, and for the states before and after it; and one for the state that all comes to."""
    return 3 * new + loaded + 1


async def take_nids(store: Store, wanted: int) -> Iterator[int]:
    """So many nids that are new."""
    taken: list[int] = []
    while len(taken) < wanted:
        taken += await store.writer.take_nids(min(NIDS_AT_ONCE, wanted - len(taken)))
    return iter(taken)


EMPTY = State(nids={}, snapshot=0, snapshot_depth=0)


@dataclass(slots=True, kw_only=True)
class Branches:
    """The states that one decision works with. `snapshots` are new ones, to be stored with the decision."""

    store: Store
    resolver: StateResolver
    version: RoomVersion
    room_nid: int
    nids: Iterator[int]
    pending: dict[int, Pending] = field(default_factory=dict)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    _after: dict[int, State] = field(default_factory=dict)

    async def load_after(self, rows: Sequence[EventRow]) -> None:
        """Learn the states after these stored events, in three queries."""
        rows = [row for row in rows if row.nid not in self._after and row.snapshot is not None]
        if not rows:
            return
        snapshots = {row.snapshot for row in rows if row.snapshot}
        async with self.store.database.read() as tx:
            members = await self.store.snapshots.load(tx, snapshots)
            depths = await load_snapshot_depths(tx, snapshots)
            every = {nid for found in members.values() for nid in found}
            keys = await load_keys_of(tx, every)
        for row in rows:
            assert row.snapshot is not None
            before = State(
                nids={keys[nid]: nid for nid in members.get(row.snapshot, ())},
                snapshot=row.snapshot,
                snapshot_depth=depths.get(row.snapshot, 0),
            )
            changes = row.state_key is not None and row.rejected is None
            self._after[row.nid] = (
                self.with_event(before, (row.type, row.state_key or ""), row.nid) if changes else before
            )

    def with_event(self, before: State, key: tuple[str, str], nid: int) -> State:
        """The state after a state event."""
        replaced = before.nids.get(key)
        nids = {**before.nids, key: nid}
        return self._snapshot(nids, before, added=(nid,), removed=() if replaced is None else (replaced,))

    def with_changes(self, before: State, changes: Mapping[tuple[str, str], int | None]) -> State:
        """The state once these keys have these events, or none."""
        nids = {key: nid for key, nid in {**before.nids, **changes}.items() if nid is not None}
        added = sorted(nid for nid in changes.values() if nid is not None)
        removed = sorted(nid for key in changes if (nid := before.nids.get(key)) is not None)
        return self._snapshot(nids, before, added=added, removed=removed)

    def set_after(self, nid: int, state: State) -> None:
        """Record the state after an event of this decision."""
        self._after[nid] = state

    def after(self, nid: int) -> State:
        """The state after an event of which it is known."""
        return self._after[nid]

    def forget(self, nid: int) -> None:
        """Let go of the state after an event on which nothing more will stand."""
        self._after.pop(nid, None)

    async def before(self, prev_nids: Sequence[int]) -> State:
        """The state before an event with these `prev_events`, whose states after must be known."""
        states = [self._after[nid] for nid in prev_nids]
        if not states:
            return EMPTY
        if _are_same(states):
            return states[0]
        resolved = await self.resolver.resolve(self.version, [state.nids for state in states], self.pending)
        for state in states:
            if state.nids == resolved:
                return state
        return self.changed(states[0], resolved)

    async def before_told(self, prev_nids: Sequence[int], told: Sequence[StateNids], near: State) -> State:
        """As `before`, of an event of whose `prev_events` some are not stored: `told` are the states after these, as
        another server says; `near` is a state that is likely to be like what comes of it."""
        known = [self._after[nid] for nid in prev_nids]
        sets = [*(state.nids for state in known), *told]
        return self.changed(known[0] if known else near, await self.resolver.resolve(self.version, sets, self.pending))

    async def resolved(self, nids: Sequence[int]) -> StateNids:
        """What the states after these events resolve to, where nothing will stand on it."""
        states = [self._after[nid] for nid in nids]
        if _are_same(states):
            return states[0].nids if states else {}
        return await self.resolver.resolve(self.version, [state.nids for state in states], self.pending)

    def changed(self, before: State, nids: StateNids) -> State:
        """The state with these nids, told by what differs from another one."""
        old, new = set(before.nids.values()), set(nids.values())
        if old == new:
            return before
        return self._snapshot(nids, before, added=tuple(sorted(new - old)), removed=tuple(sorted(old - new)))

    def _snapshot(self, nids: StateNids, parent: State, *, added: Sequence[int], removed: Sequence[int]) -> State:
        depth = parent.snapshot_depth + 1
        is_full = parent.snapshot == 0 or depth > DELTA_DEPTH_MAX or len(added) + len(removed) > len(nids)
        row = SnapshotRow(
            nid=next(self.nids),
            room_nid=self.room_nid,
            parent=None if is_full else parent.snapshot,
            depth=0 if is_full else depth,
            added=tuple(sorted(nids.values())) if is_full else tuple(added),
            removed=() if is_full else tuple(removed),
        )
        self.snapshots.append(row)
        return State(nids=nids, snapshot=row.nid, snapshot_depth=row.depth)


def _are_same(states: Sequence[State]) -> bool:
    return all(state.snapshot == states[0].snapshot for state in states[1:])


def changes_between(old: StateNids, new: StateNids) -> dict[tuple[str, str], int | None]:
    """What must be set (or, None, removed) to come from one state to another."""
    if old is new:
        return {}
    changed: dict[tuple[str, str], int | None] = {key: nid for key, nid in new.items() if old.get(key) != nid}
    return changed | {key: None for key in old.keys() - new.keys()}


def pending_of(nid: int, event: Event, auth_nids: Sequence[int], *, rejected: bool) -> Pending:
    """An event of this decision as the resolver needs it."""
    return Pending(node=AuthNode(nid=nid, event_id=event.event_id, auth_nids=auth_nids, rejected=rejected), event=event)
