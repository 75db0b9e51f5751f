"""What one commit writes about rooms, as it is decided: outside any transaction, on a remembered head."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import EventId, RoomAlias, RoomId, ServerName, UserId
from tim_server.storage.client_transactions import ClientTransaction
from tim_server.storage.commit_log import Fact, OwedEvent
from tim_server.storage.events import EventRow
from tim_server.storage.new_events import NewEvent
from tim_server.storage.notifications import NewNotification
from tim_server.storage.state import SnapshotRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A key of the resolved state that gets another event, or loses its event."""

    type: str
    state_key: str
    event_nid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipChange:
    """A user's resolved membership changes with the event of this index in the commit, or with the head where the
    commit has no events."""

    event_index: int
    user_id: UserId
    membership: str
    event_nid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """History that is missing right before the event of this index in the commit: `missing` are the `prev_events` that
    are not stored."""

    event_index: int
    missing: tuple[EventId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """Servers that must be told of the event of this index in the commit."""

    event_index: int
    destinations: tuple[ServerName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomCommit:
    """All that one commit changes in one room, decided on head `expected_version` (None: the room is new, and may have
    a `creator`, `aliases` and a place in the public directory). `replacement`: a new room that gets those of this."""

    room_nid: int
    room_id: RoomId
    room_version: str
    expected_version: int | None
    events: tuple[NewEvent, ...]
    forward_extremities: tuple[int, ...]
    depth: int
    snapshot: int
    snapshots: tuple[SnapshotRow, ...] = ()
    state_changes: tuple[StateChange, ...] = ()
    memberships: tuple[MembershipChange, ...] = ()
    redactions: tuple[tuple[int, int], ...] = ()
    holes: tuple[Hole, ...] = ()
    transactions: tuple[ClientTransaction, ...] = ()
    outbox: tuple[Owed, ...] = ()
    notifications: tuple[NewNotification, ...] = ()
    facts: tuple[Fact, ...] = ()
    state_was_reset: bool = False
    creator: UserId | None = None
    aliases: tuple[RoomAlias, ...] = ()
    is_published: bool = False
    replacement: "RoomCommit | None" = None

    @property
    def positions_needed(self) -> int:
        """How many positions of the clock the commit takes."""
        return sum(not event.outlier for event in self.events)


@dataclass(slots=True, kw_only=True)
class PlacedCommit:
    """A room commit with the positions that it got."""

    commit: RoomCommit
    positions: tuple[int | None, ...]
    last_position: int
    rows: tuple[EventRow, ...] = field(default=())

    def position_of(self, event_index: int) -> int:
        """Where something takes effect that goes with an event, which may be an outlier, or with the head alone."""
        position = self.positions[event_index] if self.positions else None
        return position or self.last_position


def place(commits: Iterable[RoomCommit], after: int) -> tuple[list[PlacedCommit], int]:
    """Give each event its position, counting on from `after`; the last position given."""
    placed = []
    for commit in commits:
        positions: list[int | None] = []
        for event in commit.events:
            after += not event.outlier
            positions.append(None if event.outlier else after)
        if not commit.positions_needed:
            after += 1  # only the head moves, which also takes a position
        placed.append(PlacedCommit(commit=commit, positions=tuple(positions), last_position=after))
    return placed, after


def event_rows(placed: PlacedCommit) -> tuple[EventRow, ...]:
    """The rows of the commit's live events as a reader would get them."""
    redacted_by = dict(placed.commit.redactions)
    return tuple(
        EventRow(
            nid=event.nid,
            room_nid=placed.commit.room_nid,
            position=position,
            minor=0,
            depth=event.depth,
            origin_server_ts=event.origin_server_ts,
            snapshot=event.snapshot,
            redacted_by=redacted_by.get(event.nid),
            replaces=event.replaces,
            notify_class=event.notify_class,
            soft_failed=event.soft_failed,
            event_id=event.event_id,
            type=event.type,
            state_key=event.state_key,
            sender=event.sender,
            thread_id=event.thread_id,
            rejected=event.rejected,
            prev_nids=event.prev_nids,
            auth_nids=event.auth_nids,
            body=event.body,
        )
        for event, position in zip(placed.commit.events, placed.positions, strict=True)
        if position is not None
    )


def owed_by(placed: Iterable[PlacedCommit]) -> dict[tuple[ServerName, ...], tuple[OwedEvent, ...]]:
    """The events that servers must be told of, in order, by those who must."""
    owed: dict[tuple[ServerName, ...], list[OwedEvent]] = {}
    for p in placed:
        for each in p.commit.outbox:
            position = p.position_of(each.event_index)
            event = OwedEvent(position, p.commit.events[each.event_index].nid)
            owed.setdefault(each.destinations, []).append(event)
    return {destinations: tuple(events) for destinations, events in owed.items()}
