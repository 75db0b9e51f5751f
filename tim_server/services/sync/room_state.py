"""The state of each room of an answer: at the start of its timeline, or at its end where the client asks for that.

What the client must end up with is the resolved state at the end. It gets there from what it knows (`base`) by the
state of the answer and, unless it asked for the state at the end, by the state events of the timeline:

- a key that the timeline does not set gets its event of the end, so that changes without an event, or with one that the
  filter hides, reach the client too;
- a key that the timeline sets gets the event that the timeline's first one replaces.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_state
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import UserId
from tim_server.services.events.filtering import fitting
from tim_server.services.sync.request import Reading
from tim_server.services.sync.rooms_to_sync import RoomPlan, Section
from tim_server.services.sync.sources import Sources
from tim_server.services.sync.summaries import Summary
from tim_server.services.sync.timelines import Timeline
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow
from tim_server.storage.state import load_snapshots_at
from tim_server.storage.sync_queries import (
    EventMark,
    load_marks,
    load_marks_without_members,
    load_state_of_keys,
    load_state_of_rooms,
    load_state_without_members,
)

MEMBER = "m.room.member"

StateKey = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class _RoomState:
    """What is being found out of one room. `members` are those whose events a lazy client needs."""

    plan: RoomPlan
    timeline: Timeline
    members: set[str] = field(default_factory=set)
    base: frozenset[int] = frozenset()
    end: frozenset[int] = frozenset()
    marks: list[EventMark] = field(default_factory=list)

    @property
    def timeline_nids(self) -> set[int]:
        return {row.nid for row in self.timeline.rows}

    def first_in_timeline(self) -> dict[StateKey, EventRow]:
        """The first event of the timeline for each state key that it sets."""
        first: dict[StateKey, EventRow] = {}
        for row in self.timeline.rows:
            if row.state_key is not None:
                first.setdefault((row.type, row.state_key), row)
        return first


async def load_states(
    tx: Connection,
    sources: Sources,
    reading: Reading,
    plans: Sequence[RoomPlan],
    parts: tuple[Mapping[int, Timeline], Mapping[int, Summary]],
) -> dict[int, list[EventRow]]:
    """The state events to send by room nid, for rooms that are joined or left. `parts` are timelines and summaries."""
    timelines, summaries = parts
    rooms = [
        _RoomState(plan=plan, timeline=timelines.get(plan.room_nid, Timeline()))
        for plan in plans
        if plan.window is not None and reading.filter.room.state.allows_room(plan.room.room_id)
    ]
    if reading.is_lazy:
        for room in rooms:
            room.members = _needed_members(sources, reading, room, summaries.get(room.plan.room_nid))
    await _load_whole_states(tx, reading, rooms)
    await _load_changes(tx, sources, reading, rooms)
    await _load_left_states(tx, sources, reading, rooms)
    if reading.is_lazy:
        await _load_members(tx, rooms)
    replaced = await load_marks(tx, [] if reading.wants_state_after else _replaced_nids(rooms))
    rows = await sources.rows.load(tx, [*replaced, *(mark for room in rooms for mark in room.marks)])
    return {room.plan.room_nid: _state_to_send(reading, room, rows) for room in rooms}


def _needed_members(sources: Sources, reading: Reading, room: _RoomState, summary: Summary | None) -> set[str]:
    """The senders of the timeline and the heroes, as far as the client can't have them; the user themselves where the
    state is sent as a whole."""
    rows = room.timeline.rows
    needed: set[str] = {row.sender for row in rows} if reading.wants_state_after else {*senders_to_show(rows)}
    if summary is not None and summary.heroes is not None:
        needed.update(summary.heroes)
    if room.plan.is_whole:
        return needed | {reading.user_id}
    if room.plan.base is None or reading.filter.room.state.sends_redundant_members:
        return needed
    return sources.sent_members.unsent((reading.user_id, reading.device_id, room.plan.room_nid), needed, room.plan.base)


def senders_to_show(rows: Sequence[EventRow]) -> set[UserId]:
    """The senders whose member events a client needs to show the events: not those whose own comes first of theirs."""
    first: dict[UserId, EventRow] = {}
    for row in rows:
        first.setdefault(row.sender, row)
    return {sender for sender, row in first.items() if row.type != MEMBER or row.state_key != sender}


async def _load_whole_states(tx: Connection, reading: Reading, rooms: Iterable[_RoomState]) -> None:
    """The whole state of joined rooms, where it is wanted; without members where they are loaded lazily."""
    whole = {r.plan.room_nid: r for r in rooms if r.plan.section is Section.JOIN and r.plan.is_whole}
    load = load_state_without_members if reading.is_lazy else load_state_of_rooms
    for mark in await load(tx, list(whole)):
        whole[mark.room_nid].marks.append(mark)


async def _load_members(tx: Connection, rooms: Iterable[_RoomState]) -> None:
    """The member events that a lazy client needs of joined rooms."""
    joined = {room.plan.room_nid: room for room in rooms if room.plan.section is Section.JOIN}
    keys = [(room_nid, MEMBER, member) for room_nid, room in joined.items() for member in sorted(room.members)]
    for mark in await load_state_of_keys(tx, keys):
        joined[mark.room_nid].marks.append(mark)


async def _load_changes(tx: Connection, sources: Sources, reading: Reading, rooms: Iterable[_RoomState]) -> None:
    """For rooms that the client knows: what the end of the answer has and the base has not."""
    known = [room for room in rooms if room.plan.base is not None and (reading.is_lazy or not room.plan.is_whole)]
    if not known or reading.since is None:
        return
    joined = [room for room in known if room.plan.section is Section.JOIN]
    bases = [(room.plan.room_nid, reading.since) for room in known]
    ends = [(room.plan.room_nid, room.plan.window.up_to) for room in joined if room.plan.window is not None]
    at = await load_snapshots_at(tx, [*bases, *ends])
    changed = [room for room in joined if _is_changed(room, at)]
    left = [room for room in known if room.plan.section is Section.LEAVE]
    snapshots = await sources.snapshots.load(tx, _snapshots_of(changed, left, at))
    wanted: list[int] = []
    for room in [*changed, *left]:
        room.base = snapshots.get(at.get((room.plan.room_nid, reading.since), 0), frozenset())
    for room in changed:
        assert room.plan.window is not None
        room.end = snapshots.get(at.get((room.plan.room_nid, room.plan.window.up_to), 0), frozenset())
        wanted += _changed_nids(reading, room)
    _share_out(await load_marks(tx, wanted), changed)


def _is_changed(room: _RoomState, at: Mapping[tuple[int, int], int]) -> bool:
    assert room.plan.window is not None and room.plan.base is not None
    return at.get((room.plan.room_nid, room.plan.base)) != at.get((room.plan.room_nid, room.plan.window.up_to))


def _snapshots_of(
    changed: Iterable[_RoomState], left: Iterable[_RoomState], at: Mapping[tuple[int, int], int]
) -> set[int]:
    moments = {(room.plan.room_nid, room.plan.base) for room in (*changed, *left)}
    moments |= {(room.plan.room_nid, room.plan.window.up_to) for room in changed if room.plan.window is not None}
    return {snapshot for moment, snapshot in at.items() if moment in moments}


def _changed_nids(reading: Reading, room: _RoomState) -> frozenset[int]:
    changed = room.end - room.base
    return changed if reading.wants_state_after else changed - room.timeline_nids


async def _load_left_states(tx: Connection, sources: Sources, reading: Reading, rooms: Iterable[_RoomState]) -> None:
    """The state of rooms that the user is out of, as their going left it."""
    left = [room for room in rooms if room.plan.left is not None]
    if not left:
        return
    goings = await sources.rows.load(tx, await load_marks(tx, [_left_nid(room) for room in left]))
    at = await load_snapshots_at(tx, [(room.plan.room_nid, _left_position(room)) for room in left])
    before = {
        _left_nid(room): row.snapshot if row is not None and _is_the_going(room, row) else None
        for room in left
        for row in (goings.get(_left_nid(room)),)
    }
    wanted = {*at.values(), *(snapshot for snapshot in before.values() if snapshot is not None)}
    snapshots = await sources.snapshots.load(tx, wanted)
    nids: set[int] = set()
    for room in left:
        snapshot, nid = before[_left_nid(room)], _left_nid(room)
        if snapshot is not None:
            room.end = (snapshots.get(snapshot, frozenset()) - {goings[nid].replaces}) | {nid}
        else:
            room.end = snapshots.get(at.get((room.plan.room_nid, _left_position(room)), 0), frozenset())
        nids |= _changed_nids(reading, room)
    if reading.is_lazy:
        members = set().union(*(room.members for room in left))
        known = {nid for room in left if room.plan.base is not None for nid in room.end - room.base}
        marks = [*await load_marks(tx, known), *await load_marks_without_members(tx, nids - known, members)]
    else:
        marks = await load_marks(tx, nids)
    _share_out(marks, left)


def _left_nid(room: _RoomState) -> int:
    assert room.plan.left is not None
    return room.plan.left.event_nid


def _left_position(room: _RoomState) -> int:
    assert room.plan.left is not None
    return room.plan.left.position


def _is_the_going(room: _RoomState, row: EventRow) -> bool:
    """Whether this event took effect when it came; after a state reset, the event in place may be an old one."""
    return row.position == _left_position(room)


def _share_out(marks: Iterable[EventMark], rooms: Iterable[_RoomState]) -> None:
    by_nid = {room.plan.room_nid: room for room in rooms}
    for mark in marks:
        by_nid[mark.room_nid].marks.append(mark)


def _replaced_nids(rooms: Iterable[_RoomState]) -> set[int]:
    """What the timelines' first state events replace."""
    first = (row for room in rooms for row in room.first_in_timeline().values())
    return {row.replaces for row in first if row.replaces is not None}


def _state_to_send(reading: Reading, room: _RoomState, rows: Mapping[int, EventRow]) -> list[EventRow]:
    found = {mark.nid: rows[mark.nid] for mark in room.marks if mark.nid in rows}
    if not reading.wants_state_after:
        first = room.first_in_timeline()
        found = {nid: row for nid, row in found.items() if (row.type, row.state_key) not in first}
        for key, row in first.items():
            replaced = None if row.replaces is None else rows.get(row.replaces)
            if replaced is not None and _is_wanted(reading, room, key, replaced):
                found[replaced.nid] = replaced
    return fitting(reading.filter.room.state, (found[nid] for nid in sorted(found)))


def _is_wanted(reading: Reading, room: _RoomState, key: StateKey, replaced: EventRow) -> bool:
    """Whether the client needs an event that the timeline replaces."""
    if reading.is_lazy and key[0] == MEMBER and key[1] in room.members:
        return True
    # Where the state is as the client knows it, no snapshots were loaded.
    if room.base and replaced.nid not in room.base:
        return True
    return room.plan.is_whole and not (reading.is_lazy and key[0] == MEMBER)
