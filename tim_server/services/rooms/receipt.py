"""What one decision about events that arrive has come to: which are new, on what the room stands, what is missing."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.services.rooms.branches import Branches, StateNids
from tim_server.services.rooms.check_event import EventCheck
from tim_server.services.rooms.head import DEPTH_MAX, RoomHead
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.rooms.redactions import Redactions
from tim_server.storage.events import EventRow
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import Hole

AUTHORISING = frozenset(
    {"m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.third_party_invite"}
)
"""Types of state that the authorisation rules look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """Events of one room, each after those that it refers to. `is_relayed`: we tell the other servers in the room.

    `hidden` are soft-failed whatever the room's state says, since a policy server or the trust gate is against them.
    `states` are the states after those `prev_events` that can't be had with theirs, as another server tells.
    """

    events: tuple[Event, ...]
    is_relayed: bool = False
    hidden: Collection[EventId] = ()
    states: Mapping[EventId, StateNids] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Receipt:
    """What has been decided so far. `stored` are events of the room that are named, `elsewhere` those that other rooms
    hold, `early` redactions that came before the new ones which they name, `followed` those of the new ones on which
    stored events stand already, `behind` the `prev_nids` of stored events that were not accepted. `parsed` are the
    `events`, parsed."""

    head: RoomHead
    incoming: Incoming
    branches: Branches
    check: EventCheck
    stored: Mapping[EventId, EventRow]
    elsewhere: Collection[EventId] = ()
    early: Mapping[int, EventRow] = field(default_factory=dict)
    followed: Collection[EventId] = ()
    behind: dict[int, Sequence[int]] = field(default_factory=dict)
    new: dict[EventId, tuple[int, Event]] = field(default_factory=dict)
    events: list[NewEvent] = field(default_factory=list)
    parsed: list[Event] = field(default_factory=list)
    rejected: set[EventId] = field(default_factory=set)
    extremities: dict[int, EventId] = field(default_factory=dict)
    threads: dict[EventId, EventId | None] = field(default_factory=dict)
    redactions: Redactions = field(default_factory=Redactions)
    holes: list[Hole] = field(default_factory=list)
    depth: int = 0
    uses: dict[EventId, int] = field(default_factory=dict)
    _missing: dict[EventId, None] = field(default_factory=dict)
    _current: StateNids | None = None
    _is_old: bool = False
    _is_stricter: bool = False

    def __post_init__(self) -> None:
        """The current state is the head's, until something is accepted."""
        self._current = self.head.state

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

    def auth_nids(self, event: Event) -> dict[EventId, int]:
        """The nids of the event's `auth_events`; nothing of another room authorises anything here."""
        return {e: self.nid_of(e) for e in event.auth_events if e not in self.elsewhere}

    def nid_of(self, event_id: EventId) -> int:
        """The nid of an event that is stored or new."""
        return self.new[event_id][0] if event_id in self.new else self.stored[event_id].nid

    def has_state(self, event_id: EventId) -> bool:
        """Whether the state before an event is known; of outliers it is not."""
        return event_id in self.new or (event_id in self.stored and self.stored[event_id].snapshot is not None)

    def is_rejected(self, event_id: EventId) -> bool:
        """Whether an event that is stored or new is rejected."""
        return event_id in self.rejected or (event_id in self.stored and self.stored[event_id].rejected is not None)

    async def is_allowed_now(self, event: Event, before: StateNids) -> bool:
        """Whether the room's current state allows what the state before the event does (check 6).

        After forks to find out the current state is dear. What has only given somebody more rights since it was found
        out can't be why the event should not be allowed, only why it should.
        """
        if self._current is None or self._is_stricter:
            await self._resolve()
        assert self._current is not None
        is_allowed = await self.check.is_allowed(event, self._current, since=before)
        if is_allowed or not self._is_old:
            return is_allowed
        return await self.check.is_allowed(event, await self._resolve(), since=before)

    async def _resolve(self) -> StateNids:
        self._current = await self.branches.resolved(list(self.extremities))
        self._is_old = self._is_stricter = False
        return self._current

    def stand_on(self, new: NewEvent, event: Event) -> None:
        """Have the room stand on an event that was accepted, and not on what comes before it."""
        is_linear = all(nid in self.extremities for nid in new.prev_nids)
        self._is_old |= not is_linear or new.type in AUTHORISING
        self._is_stricter |= not is_linear or _takes_rights(event)
        for nid in self._before(new.prev_nids):
            self.extremities.pop(nid, None)
        # In v1 and v2 events can lead back to themselves; a room must stand on something.
        if new.event_id not in self.followed or not self.extremities:
            self.extremities[new.nid] = new.event_id
        self.depth = max(self.depth, min(new.depth, DEPTH_MAX))

    def _before(self, prev_nids: Iterable[int]) -> set[int]:
        """These events, and where they were not accepted, those before them: an extremity may hide behind them."""
        found: set[int] = set()
        ahead = list(prev_nids)
        while ahead:
            nid = ahead.pop()
            if nid not in found:
                found.add(nid)
                ahead += self.behind.get(nid, ())
        return found

    def note_missing(self, event: Event) -> None:
        """Remember what can't be had of the events before this one: there is a hole before the next that is placed."""
        self._missing |= dict.fromkeys(e for e in event.prev_events if not self.has_state(e))

    def add(self, new: NewEvent, event: Event, *, is_accepted: bool) -> None:
        """Have the event stored."""
        self.events.append(new)
        self.parsed.append(event)
        if not is_accepted:
            self.behind[new.nid] = new.prev_nids
        if not new.outlier and self._missing:
            self.holes.append(Hole(event_index=len(self.events) - 1, missing=tuple(self._missing)))
            self._missing = {}

    async def show(self, nid: int) -> None:
        """Give a redaction its place, once it takes effect."""
        row = self.early.get(nid)
        if row is None:
            index = next(i for i, new in enumerate(self.events) if new.nid == nid)
            self.events[index] = replace(self.events[index], outlier=False, redacts_id=None)
        elif row.position is None:
            self.add(_as_new(row), (await self.check.load([nid]))[nid], is_accepted=True)

    def let_go(self, event: Event) -> None:
        """Let go of states on which nothing more will stand: those of a large room are large."""
        for event_id in dict.fromkeys(event.prev_events):
            self.uses[event_id] -= 1
            if not self.uses[event_id] and self.has_state(event_id):
                nid = self.nid_of(event_id)
                if nid not in self.extremities:
                    self.branches.forget(nid)


def _takes_rights(event: Event) -> bool:
    """Whether an event may take rights from somebody."""
    if event.type == MEMBER:
        return event.content.get("membership") not in ("join", "invite", "knock")
    return event.type in AUTHORISING


def _as_new(row: EventRow) -> NewEvent:
    """A stored event that gets its place."""
    return NewEvent(
        nid=row.nid,
        event_id=row.event_id,
        type=row.type,
        state_key=row.state_key,
        sender=row.sender,
        origin_server_ts=row.origin_server_ts,
        depth=row.depth,
        prev_nids=tuple(row.prev_nids),
        auth_nids=tuple(row.auth_nids),
        body=row.body,
        snapshot=row.snapshot,
        replaces=row.replaces,
        thread_id=row.thread_id,
        is_stored=True,
    )
