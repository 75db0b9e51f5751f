"""What the commit log's tail says of one user's window: what happened since their token, as far as it concerns them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import UserId
from tim_server.services.sync.views import MEMBER, UserView, ViewedRoom
from tim_server.storage.commit_log import CommitEntry, Fact
from tim_server.storage.device_lists import DEVICE_LISTS
from tim_server.storage.events import EventRow
from tim_server.storage.presence import PRESENCE_STREAM
from tim_server.storage.shared_rooms import MemberStep

ABOUT_MEMBERS = frozenset({DEVICE_LISTS, PRESENCE_STREAM})
"""Streams whose facts tell of the members of a room, and not of the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened after `since` up to `up_to`: events and facts by nid of the rooms that the user is in, oldest
    first, and the `streams` of the user's own that were touched. `rooms` are those that the answer may speak of: the
    views may have forgotten them before it is made."""

    since: int
    up_to: int
    view: UserView
    events: Mapping[int, tuple[EventRow, ...]] = field(default_factory=dict)
    facts: Mapping[int, tuple[Fact, ...]] = field(default_factory=dict)
    streams: frozenset[str] = frozenset()
    rooms: Mapping[int, ViewedRoom] = field(default_factory=dict)

    @property
    def room_nids(self) -> set[int]:
        """The rooms that the answer may speak of: those in which more happened than facts about their members."""
        beside = (
            room_nid
            for room_nid, facts in self.facts.items()
            if any(fact.stream not in ABOUT_MEMBERS for fact in facts)
        )
        return {*self.events, *beside}

    @property
    def member_steps(self) -> list[MemberStep]:
        """The member events of the window."""
        return [
            MemberStep(room_nid=row.room_nid, user_id=UserId(row.state_key), position=row.position)
            for rows in self.events.values()
            for row in rows
            if row.type == MEMBER and row.state_key is not None and row.position is not None
        ]

    def facts_of(self, stream: str) -> dict[int, list[Fact]]:
        """The facts of one stream by room, where there are any."""
        found: dict[int, list[Fact]] = {}
        for room_nid, facts in self.facts.items():
            of_stream = [fact for fact in facts if fact.stream == stream]
            if of_stream:
                found[room_nid] = of_stream
        return found


def window_of(view: UserView, entries: Iterable[CommitEntry], since: int, up_to: int) -> Window:
    """The window that these entries make for the user of the view."""
    events: dict[int, tuple[EventRow, ...]] = {}
    facts: dict[int, tuple[Fact, ...]] = {}
    streams: frozenset[str] = frozenset()
    for entry in entries:
        for room_nid, rows in entry.events.items():
            if room_nid in view.rooms:
                events[room_nid] = (*events[room_nid], *rows) if room_nid in events else rows
        for room_nid, of_room in entry.facts.items():
            if room_nid in view.rooms:
                facts[room_nid] = (*facts[room_nid], *of_room) if room_nid in facts else of_room
        streams |= entry.users.get(view.user_id, frozenset())
    return Window(since=since, up_to=up_to, view=view, events=events, facts=facts, streams=streams)
