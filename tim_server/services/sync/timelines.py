"""The timeline of each room of an answer.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_timeline
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tim_server.matrix.filters import RoomEventFilter
from tim_server.services.events.filtering import fitting, patterns_of
from tim_server.services.events.tokens import place_after, place_before
from tim_server.services.events.visibility import is_presentable
from tim_server.services.sync.request import Reading
from tim_server.services.sync.rooms_to_sync import RoomPlan, Section
from tim_server.services.sync.sources import Sources
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow
from tim_server.storage.outside_memberships import load_outside
from tim_server.storage.sync_queries import EventMark, WindowEvents, load_marks, load_windows
from tim_server.storage.timeline import Place

SIFTED_MAX = 500
"""How many events are looked at where the database can't apply the whole filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Events, oldest first. `prev` is the gap before them; None where the room begins with them."""

    rows: Sequence[EventRow] = ()
    limited: bool = False
    prev: Place | None = None


async def load_timelines(
    tx: Connection, sources: Sources, reading: Reading, plans: Sequence[RoomPlan], ignored: Collection[str]
) -> dict[int, Timeline]:
    """The timeline of each joined and left room by nid: what the user may see, and the filter lets pass."""
    wanted = reading.filter.room.timeline
    told = [plan for plan in plans if wanted.allows_room(plan.room.room_id) and not wanted.events.allows_nothing]
    is_open = wanted.events.allows_everything and wanted.contains_url is None
    windows = await load_windows(
        tx,
        [plan.window for plan in told if plan.window is not None],
        limit=max(SIFTED_MAX, reading.timeline_limit) if _must_be_sifted(wanted) else reading.timeline_limit,
        patterns=None if is_open else patterns_of(wanted),
    )
    marks = [mark for window in windows.values() for mark in window.marks]
    own = await _load_own_marks(tx, told)
    rows = await sources.rows.load(tx, [*marks, *own])
    outside = await _load_own_from_outside(tx, sources, told, rows)
    seen = await _seen(tx, sources, reading, plans, [rows[mark.nid] for mark in marks if mark.nid in rows])
    timelines = {}
    for plan in told:
        window = windows.get(plan.room_nid, WindowEvents())
        fetched = [rows[mark.nid] for mark in window.marks if mark.nid in rows]
        passed = [seen[row.nid] for row in fetched if row.nid in seen and not _is_ignored(row, ignored)]
        passed = passed if is_open else fitting(wanted, passed)
        timelines[plan.room_nid] = _timeline(plan, window, fetched, passed, reading.timeline_limit)
    for row in (*(rows[mark.nid] for mark in own if mark.nid in rows), *outside):
        _append_own(timelines, wanted, row)
    return timelines


def _must_be_sifted(wanted: RoomEventFilter) -> bool:
    """Whether the filter has parts that only a look at each event decides."""
    types = (wanted.events.types, wanted.events.not_types)
    return wanted.contains_url is not None or any(listed is not None and listed.wildcards for listed in types)


async def _seen(
    tx: Connection, sources: Sources, reading: Reading, plans: Sequence[RoomPlan], rows: Sequence[EventRow]
) -> dict[int, EventRow]:
    """The rows that the user may see, by nid: what history visibility allows, and what was done to themselves."""
    histories = {plan.room_nid: plan.history for plan in plans}
    visible = await sources.client_events.visibility.visible(tx, reading.user_id, rows, histories)
    own = {row.nid: row for row in rows if _is_own_membership(row, reading) and is_presentable(row)}
    return own | {row.nid: row for row in visible}


def _is_own_membership(row: EventRow, reading: Reading) -> bool:
    return row.type == "m.room.member" and row.state_key == reading.user_id


def _is_ignored(row: EventRow, ignored: Collection[str]) -> bool:
    return row.sender in ignored and row.state_key is None


def _timeline(
    plan: RoomPlan, window: WindowEvents, fetched: Sequence[EventRow], passed: Sequence[EventRow], limit: int
) -> Timeline:
    kept = passed[max(len(passed) - limit, 0) :]
    prev: Place | None = None
    if len(kept) < len(passed):
        prev = place_before(kept[0]) if kept else place_after(passed[-1])
    elif fetched and (window.more or (plan.window is not None and plan.window.after)):
        prev = place_before(fetched[0])
    elif plan.window is not None and (window.more or plan.window.after):
        prev = (plan.window.up_to if window.more else plan.window.after, 0)
    return Timeline(rows=kept, limited=window.more or len(kept) < len(passed) or plan.is_return, prev=prev)


async def _load_own_marks(tx: Connection, plans: Sequence[RoomPlan]) -> list[EventMark]:
    """The user's newest membership of rooms that they are out of, where the room's window does not reach it."""
    left = (plan for plan in plans if plan.section is Section.LEAVE)
    wanted = [p.room.event_nid for p in left if p.left is None or p.left.event_nid != p.room.event_nid]
    return await load_marks(tx, wanted)


async def _load_own_from_outside(
    tx: Connection, sources: Sources, plans: Sequence[RoomPlan], rows: Collection[int]
) -> list[EventRow]:
    """As `_load_own_marks`, where the membership is one of a room that this server is not in."""
    wanted = {p.room.event_nid for p in plans if p.section is Section.LEAVE and p.room.event_nid not in rows}
    return [row.event for row in (await load_outside(tx, sources.codec, wanted)).values()]


def _append_own(timelines: dict[int, Timeline], wanted: RoomEventFilter, row: EventRow) -> None:
    """Also one without a place in the timeline: what was done to a user while this server was out of the room."""
    before = timelines[row.room_nid]
    is_accepted = row.rejected is None and not row.soft_failed
    if row.nid not in {other.nid for other in before.rows} and is_accepted and fitting(wanted, [row]):
        timelines[row.room_nid] = Timeline(rows=[*before.rows, row], limited=before.limited, prev=before.prev)
