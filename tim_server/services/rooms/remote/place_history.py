"""Deciding what becomes of history that was fetched: each event is checked like one that is received, by its auth
events and by the state before it, and gets its place in the hole. It changes nothing of what the room is now, so that
whether it would be allowed now does not matter.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from tim_server.matrix.canonical_json import decode_lenient, encode_relaxed
from tim_server.matrix.event_auth import auth_ids
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.relations import relation_of
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.branches import Branches, State, StateNids, nids_needed, pending_of, state_of, take_nids
from tim_server.services.rooms.check_event import EventCheck
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.redactions import Redaction, Redactions
from tim_server.services.rooms.relate import thread_of
from tim_server.services.rooms.remote.history_page import HistoryPage
from tim_server.services.rooms.resolve_state import StateResolver
from tim_server.storage.events import EventRow, load_early_redactions, load_events, load_nodes_by_id
from tim_server.storage.history_fill import Edges, HistoryFill
from tim_server.storage.holes import HoleRow, find_minor_below
from tim_server.storage.new_events import NewEvent, PlacedEvent
from tim_server.storage.store import Store

EVENTS_BETWEEN_PAUSES = 10
MINOR_MIN = -(2**31)


class HoleTooSmall(Exception):
    """The hole has no room for the page: another event was put too near."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedHistory:
    """A page for a hole. `states` are the states before its open ends; `stored` are the events that are named by it and
    stored in the room; of `hidden` events the senders' servers are not part of the federation of this server."""

    head: RoomHead
    hole: HoleRow
    page: HistoryPage
    states: Mapping[EventId, StateNids]
    stored: Mapping[EventId, EventRow]
    hidden: Collection[EventId] = ()


@dataclass(slots=True, kw_only=True)
class _Work:
    """What has been decided so far, oldest first. Events that are left out have a number below 0 instead of a nid."""

    fetched: FetchedHistory
    branches: Branches
    check: EventCheck
    near: State
    floor: int
    nids: dict[EventId, int]
    uses: Counter[EventId]
    decided: list[NewEvent] = field(default_factory=list)
    events: dict[EventId, Event] = field(default_factory=dict)
    rejected: set[EventId] = field(default_factory=set)
    threads: dict[EventId, EventId | None] = field(default_factory=dict)
    redactions: Redactions = field(default_factory=Redactions)

    def sender_of(self, event_id: EventId) -> UserId | None:
        """Who sent an event that is stored or new."""
        if event_id in self.events:
            return self.events[event_id].sender
        row = self.fetched.stored.get(event_id)
        return None if row is None else row.sender

    def thread_of(self, event_id: EventId) -> EventId | None:
        """The thread of an event that is stored or new."""
        row = self.fetched.stored.get(event_id)
        return self.threads.get(event_id) if row is None else row.thread_id


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPlacement:
    """Decides; who asks has the decision stored."""

    store: Store
    parsed: ParsedEvents
    resolver: StateResolver

    async def decide(self, fetched: FetchedHistory) -> HistoryFill:
        """What is to be written. Raises `HoleTooSmall`."""
        work = await self._begin(fetched)
        for count, event_id in enumerate(reversed(fetched.page.order)):
            if count % EVENTS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            await self._decide(work, event_id)
        return await self._conclude(work)

    async def _begin(self, fetched: FetchedHistory) -> _Work:
        page, hole, head = fetched.page, fetched.hole, fetched.head
        uses = Counter(prev for event_id in page.order for prev in {*page.links[event_id].prev_events})
        async with self.store.database.read() as tx:
            near = list((await load_events(tx, self.store.codec, hole.citing)).values())[:1]
            early = await load_early_redactions(tx, self.store.codec, head.nid, page.order)
            below = await find_minor_below(tx, hole)
        known = [row for event_id, row in fetched.stored.items() if event_id in uses and row.snapshot is not None]
        loaded = {row.nid: row for row in [*near, *known, *(row for _, row in early)]}
        branches = Branches(
            store=self.store,
            resolver=self.resolver,
            version=head.version,
            room_nid=head.nid,
            nids=await take_nids(self.store, nids_needed(new=len(page.order), loaded=len(loaded))),
        )
        await branches.load_after([*loaded.values()])
        work = _Work(
            fetched=fetched,
            branches=branches,
            check=EventCheck(parsed=self.parsed, version=head.version, pending=branches.pending),
            near=branches.after(near[0].nid) if near else state_of(head),
            floor=MINOR_MIN if below is None else below,
            nids={event_id: row.nid for event_id, row in fetched.stored.items()},
            uses=uses,
        )
        for redacted, row in early:
            state = branches.after(row.nid).nids  # as before it: a redaction changes no power
            work.redactions.wait(redacted, await _redaction(work, row.nid, row.sender, state))
        return work

    async def _decide(self, work: _Work, event_id: EventId) -> None:
        link = work.fetched.page.links[event_id]
        before = await self._before(work, event_id)
        event = link.event
        if event is None or any(work.nids.get(auth_id, -1) < 0 for auth_id in auth_ids(event)):
            work.nids[event_id] = -1 - len(work.nids)
            work.branches.set_after(work.nids[event_id], before)
        else:
            await self._take_in(work, event, before)
        for prev in {*link.prev_events}:
            work.uses[prev] -= 1
            if not work.uses[prev] and prev in work.nids:
                work.branches.forget(work.nids[prev])  # the state of a large room is large

    async def _before(self, work: _Work, event_id: EventId) -> State:
        told = work.fetched.states.get(event_id)
        if told is not None:
            return work.branches.changed(work.near, told)
        prev_events = dict.fromkeys(work.fetched.page.links[event_id].prev_events)
        return await work.branches.before([work.nids[prev] for prev in prev_events])

    async def _take_in(self, work: _Work, event: Event, before: State) -> None:
        """Checks 4 and 5, and what follows from them."""
        row = work.fetched.stored.get(event.event_id)
        nid = next(work.branches.nids) if row is None else row.nid
        auth_nids = tuple(work.nids[auth_id] for auth_id in event.auth_events)
        rejected = row.rejected if row is not None and row.rejected else await self._rejection(work, event, before)
        is_hidden = rejected is None and event.event_id in work.fetched.hidden
        work.branches.pending[nid] = pending_of(nid, event, auth_nids, rejected=rejected is not None)
        work.nids[event.event_id], work.events[event.event_id] = nid, event
        if rejected is not None:
            work.rejected.add(event.event_id)
        body = encode_relaxed(event.pdu) if row is None else row.body
        self.parsed.remember(nid, event, body)
        key = (event.type, event.state_key) if event.state_key is not None else None
        relation = relation_of(event.type, event.state_key, event.content)
        work.threads[event.event_id] = (
            None if relation is None else thread_of(relation, work.thread_of(relation.event_id))
        )
        is_accepted = rejected is None and not is_hidden
        is_shown = is_accepted and await self._redact(work, event, nid, before.nids)
        is_early = is_accepted and event.redacts is not None and work.sender_of(event.redacts) is None
        work.decided.append(
            NewEvent(
                nid=nid,
                event_id=event.event_id,
                type=event.type,
                state_key=event.state_key,
                sender=event.sender,
                origin_server_ts=event.origin_server_ts,
                depth=event.depth,
                prev_nids=tuple(n for prev in event.prev_events if (n := work.nids.get(prev, -1)) > 0),
                auth_nids=auth_nids,
                body=body,
                snapshot=before.snapshot,
                replaces=before.nids.get(key) if key else None,
                outlier=not is_shown,
                soft_failed=is_hidden,
                rejected=rejected,
                thread_id=work.threads[event.event_id],
                relation=relation,
                redacts_id=event.redacts if is_early else None,
                is_stored=row is not None,
            )
        )
        after = work.branches.with_event(before, key, nid) if key is not None and rejected is None else before
        work.branches.set_after(nid, after)
        effective = {redaction.nid for redaction in work.redactions.came(event.event_id, nid, event.sender)}
        work.decided = [replace(new, outlier=False) if new.nid in effective else new for new in work.decided]

    async def _rejection(self, work: _Work, event: Event, before: State) -> str | None:
        """Why the event is rejected, by its `auth_events` (check 4) or by the state before it (check 5)."""
        nids = {auth_id: work.nids[auth_id] for auth_id in auth_ids(event)}
        stored = work.fetched.stored
        rejected = work.rejected | {e for e in nids if e in stored and stored[e].rejected}
        return await work.check.rejection(event, nids, before.nids, rejected)

    async def _redact(self, work: _Work, event: Event, nid: int, before: StateNids) -> bool:
        """Have a redaction take effect, when what it redacts comes at the latest. Whether the event is shown: clients
        are told of redactions that are allowed only, as far as that can be said without what they redact."""
        if event.redacts is None:
            return True
        redaction = await _redaction(work, nid, event.sender, before)
        redacted = work.sender_of(event.redacts)
        if redacted is None:
            work.redactions.wait(event.redacts, redaction)
            return redaction.is_of_power
        return work.redactions.redact(work.nids[event.redacts], redacted, redaction)

    async def _conclude(self, work: _Work) -> HistoryFill:
        """The places, the newest event nearest to where the hole was, and what is left of the hole."""
        fetched, hole = work.fetched, work.fetched.hole
        minor = hole.minor
        placed: list[PlacedEvent] = []
        by_id = {event.event_id: event for event in work.decided}
        for event_id in fetched.page.order:
            event = by_id.get(event_id)
            if event is None:
                continue
            minor -= not event.outlier
            placed.append(
                PlacedEvent(
                    event, hole.room_nid, None if event.outlier else hole.position, 0 if event.outlier else minor
                )
            )
        if minor <= work.floor:
            raise HoleTooSmall
        missing = fetched.page.missing
        citing = [nid for end in fetched.page.open_ends if (nid := work.nids[end]) > 0]
        untold = [event_id for event_id in hole.missing if event_id in missing]
        moved = replace(
            hole, minor=minor, missing=missing, citing=(*citing, *(hole.citing if untold else ())) if missing else ()
        )
        return HistoryFill(
            codec=self.store.codec,
            hole=hole,
            moved=None if not missing and minor == 0 else moved,
            events=placed,
            snapshots=tuple(work.branches.snapshots),
            redactions=tuple(work.redactions.effect),
            edges=await self._edges(work),
        )

    async def _edges(self, work: _Work) -> list[Edges]:
        """The edges of the events that named what was missing."""
        head = work.fetched.head
        async with self.store.database.read() as tx:
            rows = await load_events(tx, self.store.codec, work.fetched.hole.citing)
            citing = {nid: read_stored_pdu(decode_lenient(r.body), head.version, r.event_id) for nid, r in rows.items()}
            nodes = await load_nodes_by_id(tx, {prev for event in citing.values() for prev in event.prev_events})
        nids = {event_id: node.nid for event_id, node in nodes.items() if node.room_nid == head.nid}
        nids |= {event_id: nid for event_id, nid in work.nids.items() if nid > 0}
        return [
            Edges(nid=nid, prev_nids=[nids[prev] for prev in event.prev_events if prev in nids])
            for nid, event in citing.items()
        ]


async def _redaction(work: _Work, nid: int, sender: UserId, before: StateNids) -> Redaction:
    by_rules = work.fetched.head.version.redaction_power_level_auth
    is_of_power = by_rules or await work.check.may_redact_others(sender, before)
    return Redaction(nid=nid, sender=sender, is_of_power=is_of_power)
