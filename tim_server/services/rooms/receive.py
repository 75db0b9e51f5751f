"""Receiving: events of other servers become part of the room, or are rejected, or soft-failed.

What comes here has passed the checks that need no room (form, signatures, hashes), and each event's `prev_events` and
`auth_events` are stored or come before it. The checks here are numbered as in the specification.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.event_auth import auth_ids
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.relations import relation_of
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.branches import (
    Branches,
    State,
    StateNids,
    changes_between,
    nids_needed,
    pending_of,
    state_of,
    take_nids,
)
from tim_server.services.rooms.changed_memberships import changed_memberships
from tim_server.services.rooms.check_event import CREATE, OF_ANOTHER_ROOM, EventCheck
from tim_server.services.rooms.decide import Decision
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.receipt import Incoming, Receipt
from tim_server.services.rooms.redactions import Redaction
from tim_server.services.rooms.relate import thread_of
from tim_server.services.rooms.resolve_state import StateResolver
from tim_server.storage.event_graph import load_unaccepted
from tim_server.storage.events import EventRow, load_early_redactions, load_events_by_id
from tim_server.storage.holes import find_missing
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import RoomCommit, StateChange
from tim_server.storage.store import Store

__all__ = ["EventsMissing", "Incoming", "Receiver", "named_by"]

REDACTION = "m.room.redaction"
EVENTS_BETWEEN_PAUSES = 20


class EventsMissing(Exception):
    """Events that others refer to are not stored: fetch them first."""

    def __init__(self, event_ids: Sequence[EventId]) -> None:
        super().__init__(f"{len(event_ids)} events are missing")
        self.event_ids = tuple(event_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is stored of what events name: by id, or in another room, the redactions that came before them, those of
    them which stored events name as before them, and what is before stored events that were not accepted."""

    stored: Mapping[EventId, EventRow]
    elsewhere: frozenset[EventId]
    early: Sequence[tuple[EventId, EventRow]]
    followed: frozenset[EventId]
    behind: dict[int, Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Decides what arrives; the room's queue commits it."""

    store: Store
    parsed: ParsedEvents
    resolver: StateResolver

    async def decide(self, head: RoomHead, incoming: Incoming) -> Decision:
        """Decide on `head`. The answer is the ids of the events that are now visible; raises `EventsMissing`."""
        named = {e for event in incoming.events for e in named_by(event)}
        fresh, known = await self._load_known(head, incoming.events, named)
        _check_complete(fresh, known, incoming.states)
        if not fresh:
            return Decision(answers=((),), commit=None, head=head)
        receipt = await self._begin(head, incoming, fresh, known)
        for count, event in enumerate(fresh):
            if count % EVENTS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            await self._receive(receipt, event)
        accepted = tuple(event.event_id for event in receipt.events if not event.outlier)
        return await self._conclude(receipt, accepted)

    async def _load_known(
        self, head: RoomHead, events: Sequence[Event], named: Iterable[EventId]
    ) -> tuple[list[Event], _Known]:
        """Those events that are not stored, or as outliers only, and what is stored of what they name."""
        async with self.store.database.connection() as connection:
            found = await load_events_by_id(connection, self.store.codec, named)
            # What other rooms hold is missing here: nothing of it may become part of this room.
            stored = {event_id: row for event_id, row in found.items() if row.room_nid == head.nid}
            fresh = [e for e in events if e.event_id not in found or _is_outlier(stored.get(e.event_id))]
            ids = [event.event_id for event in fresh]
            early = await load_early_redactions(connection, self.store.codec, head.nid, ids)
            followed = await find_missing(connection, head.nid, ids)
            prev_rows = (stored[e] for event in fresh for e in event.prev_events if e in stored)
            unaccepted = {row.nid for row in prev_rows if row.rejected is not None or row.soft_failed}
            behind = await load_unaccepted(connection, unaccepted) if unaccepted else {}
        elsewhere = frozenset(found.keys() - stored.keys())
        return fresh, _Known(stored=stored, elsewhere=elsewhere, early=early, followed=followed, behind=behind)

    async def _begin(self, head: RoomHead, incoming: Incoming, fresh: Sequence[Event], known: _Known) -> Receipt:
        is_linear = len(head.extremities) == 1  # then the state after it is remembered, however many members there are
        tips = [] if is_linear else await self._load_tips(head)
        prev_rows = [known.stored[e] for event in fresh for e in event.prev_events if e in known.stored]
        loaded = {row.nid: row for row in [*prev_rows, *tips, *(row for _, row in known.early)]}
        branches = Branches(
            store=self.store,
            resolver=self.resolver,
            version=head.version,
            room_nid=head.nid,
            nids=await take_nids(self.store, nids_needed(new=len(fresh), loaded=len(loaded))),
        )
        receipt = Receipt(
            head=head,
            incoming=incoming,
            branches=branches,
            check=EventCheck(parsed=self.parsed, version=head.version, pending=branches.pending),
            stored=known.stored,
            elsewhere=known.elsewhere,
            early={row.nid: row for _, row in known.early},
            followed=known.followed,
            behind=known.behind,
            extremities=dict(head.extremities),
            depth=head.depth,
            uses=Counter(e for event in fresh for e in dict.fromkeys(event.prev_events)),
        )
        if is_linear:
            branches.set_after(head.extremities[0][0], state_of(head))
        await branches.load_after([*loaded.values()])
        for redacted, row in known.early:
            state = branches.after(row.nid).nids  # as before it: a redaction changes no power
            receipt.redactions.wait(redacted, await _redaction(receipt, row.nid, row.sender, state))
        return receipt

    async def _load_tips(self, head: RoomHead) -> list[EventRow]:
        async with self.store.database.connection() as connection:
            return list(
                (await load_events_by_id(connection, self.store.codec, [e for _, e in head.extremities])).values()
            )

    async def _receive(self, receipt: Receipt, event: Event) -> None:
        """Checks 4, 5 and 6, and what follows from them."""
        row = receipt.stored.get(event.event_id)  # an outlier gets its place
        nid = next(receipt.branches.nids) if row is None else row.nid
        prev_nids = tuple(receipt.nid_of(e) for e in event.prev_events if receipt.has_state(e))
        auth_nids = receipt.auth_nids(event)
        before = await self._state_before(receipt, event, prev_nids)
        rejected = await self._rejection(receipt, event, auth_nids, before.nids)
        soft_failed = rejected is None and await self._is_soft_failed(receipt, event, before.nids)
        receipt.branches.pending[nid] = pending_of(nid, event, [*auth_nids.values()], rejected=rejected is not None)
        body = encode_relaxed(event.pdu) if row is None else row.body
        self.parsed.remember(nid, event, body)
        key = (event.type, event.state_key) if event.state_key is not None else None
        relation = relation_of(event.type, event.state_key, event.content)
        thread_id = None if relation is None else thread_of(relation, receipt.thread_of(relation.event_id))
        is_accepted = rejected is None and not soft_failed
        is_shown = is_accepted and await self._redact(receipt, event, nid, before.nids)
        is_early = is_accepted and event.redacts is not None and receipt.sender_of(event.redacts) is None
        new = NewEvent(
            nid=nid,
            event_id=event.event_id,
            type=event.type,
            state_key=event.state_key,
            sender=event.sender,
            origin_server_ts=event.origin_server_ts,
            depth=event.depth,
            prev_nids=prev_nids,
            auth_nids=tuple(auth_nids.values()),
            body=body,
            snapshot=before.snapshot,
            replaces=before.nids.get(key) if key else None,
            outlier=not is_shown,
            soft_failed=soft_failed,
            rejected=rejected,
            thread_id=thread_id,
            relation=relation,
            redacts_id=event.redacts if is_early else None,
            is_stored=row is not None,
        )
        receipt.add(new, event, is_accepted=is_accepted)
        receipt.new[event.event_id], receipt.threads[event.event_id] = (nid, event), thread_id
        applies = key is not None and rejected is None
        receipt.branches.set_after(nid, receipt.branches.with_event(before, key, nid) if applies and key else before)
        if rejected is not None:
            receipt.rejected.add(event.event_id)
        if is_accepted:
            receipt.stand_on(new, event)
        for redaction in receipt.redactions.came(event.event_id, nid, event.sender):
            await receipt.show(redaction.nid)
        receipt.let_go(event)

    async def _state_before(self, receipt: Receipt, event: Event, prev_nids: Sequence[int]) -> State:
        if all(map(receipt.has_state, event.prev_events)):
            return await receipt.branches.before(prev_nids)
        receipt.note_missing(event)
        told = [receipt.incoming.states[e] for e in event.prev_events if not receipt.has_state(e)]
        return await receipt.branches.before_told(prev_nids, told, state_of(receipt.head))

    async def _rejection(
        self, receipt: Receipt, event: Event, auth_nids: Mapping[EventId, int], before: StateNids
    ) -> str | None:
        """Why the event is rejected: for ever, where it was so as an outlier."""
        row = receipt.stored.get(event.event_id)
        if row is not None and row.rejected is not None:
            return row.rejected
        if len(auth_nids) < len({*event.auth_events}):
            return OF_ANOTHER_ROOM
        created = receipt.head.state.get(CREATE)
        if event.type == CREATE[0] and created is not None and (row is None or row.nid != created):
            return "the room has been created already"
        auth = dict(auth_nids)
        create_nid = before.get(CREATE) or receipt.head.state.get(CREATE)
        if len(auth_ids(event)) > len(event.auth_events) and create_nid is not None:
            auth[auth_ids(event)[-1]] = create_nid
        return await receipt.check.rejection(event, auth, before, {e for e in auth_nids if receipt.is_rejected(e)})

    async def _is_soft_failed(self, receipt: Receipt, event: Event, before: StateNids) -> bool:
        """Check 6: whether the room's current state forbids what the state before the event allows; and whether a
        policy server (check 7) or the trust gate does."""
        if event.event_id in receipt.incoming.hidden:
            return True
        return not await receipt.is_allowed_now(event, before)

    async def _redact(self, receipt: Receipt, event: Event, nid: int, before: StateNids) -> bool:
        """Have a redaction take effect, when what it redacts comes at the latest. Whether the event is shown:

        "While redactions are always accepted by the authorisation rules for events, they should not be sent to clients
        until both the redaction event and the event the redaction affects have been received, and can be validated."
        Since v3: in v1 and v2 the authorisation rules have seen to it.
        """
        if event.type != REDACTION:
            return True
        has_effect = False
        if event.redacts is not None:
            redaction = await _redaction(receipt, nid, event.sender, before)
            redacted = receipt.sender_of(event.redacts)
            if redacted is None:
                receipt.redactions.wait(event.redacts, redaction)
            else:
                has_effect = receipt.redactions.redact(receipt.nid_of(event.redacts), redacted, redaction)
        return has_effect or receipt.head.version.redaction_power_level_auth

    async def _conclude(self, receipt: Receipt, accepted: tuple[EventId, ...]) -> Decision:
        """The new head: the state that the forward extremities resolve to."""
        head = receipt.head
        state = await receipt.branches.before(list(receipt.extremities))
        changes = changes_between(head.state, state.nids)
        memberships, joined = await changed_memberships(
            receipt.check.load, head.state, state.nids, receipt.events, head.joined_servers
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
            holes=tuple(receipt.holes),
            redactions=tuple(receipt.redactions.effect),
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
        return Decision(answers=(accepted,), commit=commit, head=after, events=tuple(receipt.parsed))


def named_by(event: Event) -> tuple[EventId, ...]:
    """The event's own id, and those that it refers to."""
    redacted = () if event.redacts is None else (event.redacts,)
    relation = relation_of(event.type, event.state_key, event.content)
    parent = () if relation is None else (relation.event_id,)
    return (event.event_id, *event.prev_events, *event.auth_events, *redacted, *parent)


async def _redaction(receipt: Receipt, nid: int, sender: UserId, before: StateNids) -> Redaction:
    by_rules = receipt.head.version.redaction_power_level_auth
    is_of_power = by_rules or await receipt.check.may_redact_others(sender, before)
    return Redaction(nid=nid, sender=sender, is_of_power=is_of_power)


def _is_outlier(row: EventRow | None) -> bool:
    """Whether an event is stored without the state before it."""
    return row is not None and row.snapshot is None


def _check_complete(events: Sequence[Event], known: _Known, told: Mapping[EventId, StateNids]) -> None:
    """Raise `EventsMissing` for what is neither stored nor among the events before. Of `prev_events` the state must be
    known too, or told: an outlier that was fetched for its own sake has none."""
    seen = {*known.stored, *known.elsewhere}
    with_state = told.keys() | {event_id for event_id, row in known.stored.items() if row.snapshot is not None}
    missing: list[EventId] = []
    for event in events:
        missing += [e for e in event.prev_events if e not in with_state]
        missing += [e for e in event.auth_events if e not in seen]
        seen.add(event.event_id)
        with_state.add(event.event_id)
    if missing:
        raise EventsMissing(missing)
