"""Receiving: events of other servers become part of the room, or are rejected, or soft-failed.

What comes here has passed the checks that need no room (form, signatures, hashes), and each event's `prev_events` and
`auth_events` are stored or come before it. The checks here are numbered as in the specification.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth import auth_types_for, check_auth_events, check_auth_rules
from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.relations import relation_of
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.branches import Branches, State, StateNids, changes_between, pending_of
from tim_server.services.rooms.changed_memberships import changed_memberships
from tim_server.services.rooms.decide import DEPTH_MAX, Decision
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.relate import thread_of
from tim_server.services.rooms.resolve_state import StateResolver
from tim_server.storage.events import EventRow, load_early_redactions, load_events_by_id
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import RoomCommit, StateChange
from tim_server.storage.store import Store

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
MEMBER = "m.room.member"
EVENTS_BETWEEN_PAUSES = 20


class EventsMissing(Exception):
    """Events that others refer to are not stored: fetch them first."""

    def __init__(self, event_ids: Sequence[EventId]) -> None:
        super().__init__(f"{len(event_ids)} events are missing")
        self.event_ids = tuple(event_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """Events of one room, each after those that it refers to. `is_relayed`: we tell the other servers in the room."""

    events: tuple[Event, ...]
    is_relayed: bool = False


@dataclass(slots=True, kw_only=True)
class _Receipt:
    """What has been decided so far."""

    head: RoomHead
    branches: Branches
    stored: Mapping[EventId, EventRow]
    new: dict[EventId, tuple[int, Event]] = field(default_factory=dict)
    events: list[NewEvent] = field(default_factory=list)
    extremities: dict[int, EventId] = field(default_factory=dict)
    threads: dict[EventId, EventId | None] = field(default_factory=dict)
    depth: int = 0
    redactions: list[tuple[int, int]] = field(default_factory=list)
    early_redactions: dict[EventId, list[tuple[int, UserId]]] = field(default_factory=dict)

    def sender_of(self, event_id: EventId) -> UserId | None:
        """Who sent an event that is stored or new."""
        if event_id in self.new:
            return self.new[event_id][1].sender
        return self.stored[event_id].sender if event_id in self.stored else None

    def thread_of(self, event_id: EventId) -> EventId | None:
        """The thread of an event that is stored or new."""
        if event_id in self.stored:
            return self.stored[event_id].thread_id
        return self.threads.get(event_id)

    def nids_of(self, event_ids: Sequence[EventId]) -> tuple[int, ...]:
        """The nids of events that are stored or new."""
        return tuple(self.new[e][0] if e in self.new else self.stored[e].nid for e in event_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Decides what arrives; the room's queue commits it."""

    store: Store
    parsed: ParsedEvents
    resolver: StateResolver

    async def decide(self, head: RoomHead, incoming: Incoming) -> Decision:
        """Decide on `head`. The answer is the ids of the events that are now visible; raises `EventsMissing`."""
        named = {e for event in incoming.events for e in named_by(event)}
        async with self.store.database.read() as tx:
            found = await load_events_by_id(tx, self.store.codec, named)
            fresh = [event for event in incoming.events if event.event_id not in found]
            early = await load_early_redactions(tx, self.store.codec, head.nid, [event.event_id for event in fresh])
        # What other rooms hold is missing here: nothing of it may become part of this room.
        stored = {event_id: row for event_id, row in found.items() if row.room_nid == head.nid}
        _check_complete(fresh, stored)
        receipt = _Receipt(
            head=head,
            branches=Branches(
                store=self.store,
                resolver=self.resolver,
                version=head.version,
                room_nid=head.nid,
                nids=await self._take_nids(len(fresh), len(named) + len(head.extremities) + len(early)),
            ),
            stored=stored,
            extremities=dict(head.extremities),
            depth=head.depth,
        )
        if len(head.extremities) == 1:  # then the state after it is remembered, however many members the room has
            after = State(nids=head.state, snapshot=head.snapshot, snapshot_depth=head.snapshot_depth)
            receipt.branches.set_after(head.extremities[0][0], after)
        prev_rows = [stored[e] for event in fresh for e in event.prev_events if e in stored]
        tips = await self._load_tips(head)
        await receipt.branches.load_after([*prev_rows, *tips, *(row for _, row in early)])
        for redacted, row in early:
            receipt.early_redactions.setdefault(redacted, []).append((row.nid, row.sender))
        for count, event in enumerate(fresh):
            if count % EVENTS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            await self._receive(receipt, event)
        accepted = tuple(event.event_id for event in receipt.events if not event.outlier)
        if not receipt.events:
            return Decision(answers=(accepted,), commit=None, head=head)
        return await self._conclude(receipt, accepted)

    async def _take_nids(self, events: int, named: int) -> Iterator[int]:
        """Nids for the events, for the snapshots after them, and for resolved states."""
        wanted = 2 * events + named + 16
        taken: list[int] = []
        while len(taken) < wanted:
            taken += await self.store.writer.take_nids(min(512, wanted - len(taken)))
        return iter(taken)

    async def _load_tips(self, head: RoomHead) -> list[EventRow]:
        async with self.store.database.read() as tx:
            return list((await load_events_by_id(tx, self.store.codec, [e for _, e in head.extremities])).values())

    async def _receive(self, receipt: _Receipt, event: Event) -> None:
        """Checks 4, 5 and 6, and what follows from them."""
        nid = next(receipt.branches.nids)
        prev_nids, auth_nids = receipt.nids_of(event.prev_events), receipt.nids_of(event.auth_events)
        before = await receipt.branches.before(prev_nids)
        rejected = await self._rejection(receipt, event, auth_nids, before)
        soft_failed = rejected is None and await self._is_soft_failed(receipt, event, before)
        receipt.branches.pending[nid] = pending_of(nid, event, auth_nids, rejected=rejected is not None)
        receipt.new[event.event_id] = (nid, event)
        body = encode_relaxed(event.pdu)
        self.parsed.remember(nid, event, body)
        key = (event.type, event.state_key) if event.state_key is not None else None
        is_accepted = rejected is None and not soft_failed
        relation = relation_of(event.type, event.state_key, event.content)
        thread_id = None if relation is None else thread_of(relation, receipt.thread_of(relation.event_id))
        receipt.threads[event.event_id] = thread_id
        is_early = is_accepted and event.redacts is not None and receipt.sender_of(event.redacts) is None
        receipt.events.append(
            NewEvent(
                nid=nid,
                event_id=event.event_id,
                type=event.type,
                state_key=event.state_key,
                sender=event.sender,
                origin_server_ts=event.origin_server_ts,
                depth=event.depth,
                prev_nids=prev_nids,
                auth_nids=auth_nids,
                body=body,
                snapshot=before.snapshot,
                replaces=before.nids.get(key) if key else None,
                outlier=not is_accepted,
                soft_failed=soft_failed,
                rejected=rejected,
                thread_id=thread_id,
                relation=relation,
                redacts_id=event.redacts if is_early else None,
            )
        )
        applies = key is not None and rejected is None
        receipt.branches.set_after(nid, receipt.branches.with_event(before, key, nid) if applies and key else before)
        for redaction_nid, sender in receipt.early_redactions.get(event.event_id, ()):
            await self._redact(receipt, event.event_id, by=(redaction_nid, sender))
        if is_accepted:
            for prev_nid in prev_nids:
                receipt.extremities.pop(prev_nid, None)
            receipt.extremities[nid] = event.event_id
            receipt.depth = max(receipt.depth, min(event.depth, DEPTH_MAX))
            if event.redacts is not None and is_early:
                receipt.early_redactions.setdefault(event.redacts, []).append((nid, event.sender))
            elif event.redacts is not None:
                await self._redact(receipt, event.redacts, by=(nid, event.sender))

    async def _rejection(self, receipt: _Receipt, event: Event, auth_nids: Sequence[int], before: State) -> str | None:
        """Why the event is rejected, by its `auth_events` (check 4) or by the state before it (check 5)."""
        version = receipt.head.version
        auth_events = await self._load(receipt, auth_nids)
        rejected = frozenset(e for e in event.auth_events if e in receipt.stored and receipt.stored[e].rejected)
        rejected |= {new.event_id for new in receipt.events if new.rejected}
        try:
            check_auth_events(event, auth_events.values(), rejected)
            by_key = {(e.type, e.state_key or ""): e for e in auth_events.values()}
            create_nid = before.nids.get(CREATE) or receipt.head.state.get(CREATE)
            if version.room_id_is_create_hash and create_nid is not None:
                by_key |= {CREATE: (await self._load(receipt, [create_nid]))[create_nid]}
            check_auth_rules(event, by_key, version)
            check_auth_rules(event, await self._auth_state(receipt, event, before.nids), version)
        except EventRejected as error:
            return str(error)
        return None

    async def _is_soft_failed(self, receipt: _Receipt, event: Event, before: State) -> bool:
        """Check 6: whether the room's current state forbids what the state before the event allows."""
        if before.snapshot == receipt.head.snapshot:
            return False
        try:
            check_auth_rules(event, await self._auth_state(receipt, event, receipt.head.state), receipt.head.version)
        except EventRejected:
            return True
        return False

    async def _auth_state(self, receipt: _Receipt, event: Event, state: StateNids) -> dict[tuple[str, str], Event]:
        keys = auth_types_for(event.type, event.sender, event.state_key, event.content, receipt.head.version)
        nids = {key: state[key] for key in keys | {CREATE} if key in state}
        events = await self._load(receipt, list(nids.values()))
        return {key: events[nid] for key, nid in nids.items()}

    async def _load(self, receipt: _Receipt, nids: Sequence[int]) -> dict[int, Event]:
        """Parsed events, stored or new; those remembered need no query."""
        pending = receipt.branches.pending
        found = {nid: pending[nid].event for nid in nids if nid in pending}
        return found | await self.parsed.load([nid for nid in nids if nid not in pending], receipt.head.version)

    async def _redact(self, receipt: _Receipt, redacted: EventId, *, by: tuple[int, UserId]) -> None:
        """Have a redaction, `by` its nid and sender, take effect if its sender has the power before it, or is of the
        server that sent the event. In v1 and v2 the authorisation rules have seen to that.

        Spec: https://spec.matrix.org/v1.19/rooms/v11/#handling-redactions
        """
        (target,), target_sender = receipt.nids_of([redacted]), receipt.sender_of(redacted)
        nid, sender = by
        if target_sender is None or any(target == known for known, _ in receipt.redactions):
            return
        version = receipt.head.version
        if not version.redaction_power_level_auth and target_sender.server_name != sender.server_name:
            before = (await receipt.branches.before([nid])).nids  # as after it: a redaction changes no power
            nids = {key: before[key] for key in (POWER_LEVELS, CREATE) if key in before}
            events = await self._load(receipt, list(nids.values()))
            state = {key: events[state_nid] for key, state_nid in nids.items()}
            power = PowerLevels.of(state.get(POWER_LEVELS), state.get(CREATE))
            if power.user_level(sender) < power.redact:
                return
        receipt.redactions.append((target, nid))

    async def _conclude(self, receipt: _Receipt, accepted: tuple[EventId, ...]) -> Decision:
        """The new head: the state that the forward extremities resolve to."""
        head = receipt.head
        state = await receipt.branches.before(list(receipt.extremities))
        changes = changes_between(head.state, state.nids)
        memberships, joined = await changed_memberships(
            partial(self._load, receipt), head.state, state.nids, receipt.events, head.joined_servers
        )
        told = {
            (event.type, event.state_key): event.nid
            for event in receipt.events
            if event.state_key is not None and not event.outlier
        }
        commit = RoomCommit(
            room_nid=head.nid,
            room_id=head.room_id,
            room_version=head.version.identifier,
            expected_version=head.head_version,
            events=tuple(receipt.events),
            forward_extremities=tuple(receipt.extremities),
            depth=receipt.depth,
            snapshot=state.snapshot,
            snapshots=tuple(receipt.branches.snapshots),
            state_changes=tuple(
                StateChange(type=key[0], state_key=key[1], event_nid=nid) for key, nid in changes.items()
            ),
            memberships=memberships,
            redactions=tuple(receipt.redactions),
            state_was_reset=any(told.get(key) != nid for key, nid in changes.items())
            or any(key not in changes for key in told),
        )
        after = replace(
            head,
            extremities=tuple(receipt.extremities.items()),
            depth=receipt.depth,
            snapshot=state.snapshot,
            snapshot_depth=state.snapshot_depth,
            state=state.nids,
            joined_servers=joined,
        )
        events = tuple(event for _, event in receipt.new.values())
        return Decision(answers=(accepted,), commit=commit, head=after, events=events)


def named_by(event: Event) -> tuple[EventId, ...]:
    """The event's own id, and those that it refers to."""
    redacted = () if event.redacts is None else (event.redacts,)
    relation = relation_of(event.type, event.state_key, event.content)
    parent = () if relation is None else (relation.event_id,)
    return (event.event_id, *event.prev_events, *event.auth_events, *redacted, *parent)


def _check_complete(events: Sequence[Event], stored: Mapping[EventId, EventRow]) -> None:
    """Raise `EventsMissing` for what is neither stored nor among the events before. Of `prev_events` the state must be
    known too: an outlier that was fetched for its own sake has none."""
    seen = set(stored)
    with_state = {event_id for event_id, row in stored.items() if row.snapshot is not None}
    missing: list[EventId] = []
    for event in events:
        missing += [e for e in event.prev_events if e not in with_state]
        missing += [e for e in event.auth_events if e not in seen]
        seen.add(event.event_id)
        with_state.add(event.event_id)
    if missing:
        raise EventsMissing(missing)
