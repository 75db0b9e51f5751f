"""An answer from the commit log's tail in memory: what nearly every woken sync gets.

It tells of events in rooms that the user was in all the time, and of what the parts of an answer know. All else (the
user's own memberships, account data, gaps, state resets, redactions of what is in the same answer, members that a lazy
client lacks) is left to `from_database`. The database is asked only for what stands beside the events, and what is the
same for all users only once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.events.client_events import Reader, Surroundings
from tim_server.services.events.filtering import fitting
from tim_server.services.events.membership_history import MembershipHistory
from tim_server.services.events.tokens import place_before
from tim_server.services.events.visibility import is_presentable
from tim_server.services.sync.answer import Answer, events_json, room_json, timeline_json
from tim_server.services.sync.event_json import events_as_json
from tim_server.services.sync.members_seen import MembersSeen
from tim_server.services.sync.parts import Told, token_after
from tim_server.services.sync.request import Reading
from tim_server.services.sync.room_state import senders_to_show
from tim_server.services.sync.sources import Sources
from tim_server.services.sync.summaries import Summary, may_change_summary
from tim_server.services.sync.views import MEMBER, UserView, ViewedRoom, Views
from tim_server.services.sync.window import Window, window_of
from tim_server.storage.commit_log import CommitLog
from tim_server.storage.database import Database
from tim_server.storage.events import EventRow
from tim_server.storage.state import MembershipRow

REDACTION = "m.room.redaction"


class AskTheDatabase(Exception):
    """Memory does not suffice for this answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A room of the answer: the events that the client gets, the first event of the window (None where there is
    none), and the user's own member event there (nid, position)."""

    room_nid: int
    room: ViewedRoom
    rows: Sequence[EventRow]
    first: EventRow | None
    own: tuple[int, int]

    @property
    def state_rows(self) -> dict[tuple[str, str], EventRow]:
        """The last event of the timeline for each state key that it sets."""
        return {(row.type, row.state_key): row for row in self.rows if row.state_key is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class FromMemory:
    """Answers incremental syncs from the tail. Events of other servers than `server_name` may stand on forks."""

    database: Database
    commit_log: CommitLog
    views: Views
    sources: Sources
    members_seen: MembersSeen
    server_name: ServerName

    def is_quiet(self, reading: Reading) -> bool:
        """Whether there is certainly nothing to tell, so that whoever waits need not be made an answer first."""
        view, since = self.views.get(reading.user_id), reading.since
        if since is None or reading.full_state or reading.to_device_since is not None or view is None:
            return False
        return max(view.trusted_from, view.touched_at) <= since <= self.commit_log.position

    async def answer(self, reading: Reading) -> Answer:
        """What happened after `reading.since`, perhaps nothing; raises `AskTheDatabase`."""
        view, since, position = self.views.get(reading.user_id), reading.since, self.commit_log.position
        if since is None or reading.full_state or view is None or not view.trusted_from <= since <= position:
            raise AskTheDatabase
        window = self._window(view, since, position)
        told = {}
        for room_nid, rows in window.events.items():
            room = self._told(reading, window, room_nid, rows)
            if room is not None:
                told[room_nid] = room
        known, summaries = await self._surroundings(reading, told), await self._summaries(reading, told)
        of_rooms, of_user = await self._parts_of_rooms(reading, window), await self._parts_of_user(reading, window)
        if reading.is_lazy:
            self._remember_members(reading, told, position)
        joined = []
        for room_nid in window.rooms:
            parts = of_rooms.get(room_nid, ())
            if room_nid in told or any(part.is_news for part in parts):
                members = [member for part in parts for member in part.members]
                of_room = told.get(room_nid) or self._told_of_parts(window, room_nid)
                joined.append(self._room_json(reading, of_room, known, summaries.get(room_nid), members))
        return Answer(
            token=token_after(position, of_user),
            members=[member for part in of_user for member in part.members],
            rooms={"join": joined},
            has_news=bool(joined) or any(part.is_news for part in of_user),
        )

    def _window(self, view: UserView, since: int, position: int) -> Window:
        if since >= view.touched_at:
            return Window(since=since, up_to=position, view=view)
        entries = self.commit_log.since(since)
        if entries is None:
            raise AskTheDatabase
        window = window_of(view, entries, since, position)
        return replace(window, rooms={room_nid: self.views.room(room_nid) for room_nid in window.room_nids})

    async def _parts_of_user(self, reading: Reading, window: Window) -> list[Told]:
        """What the parts about the user say; those that the tail can't answer ask the database, together."""
        parts = self.sources.parts.of_user
        told = [await part.from_tail(reading, window) for part in parts]
        if None not in told:
            return [of_part for of_part in told if of_part is not None]
        async with self.database.read() as tx:
            return [
                await part.from_database(tx, reading, window.up_to) if of_part is None else of_part
                for part, of_part in zip(parts, told, strict=True)
            ]

    async def _parts_of_rooms(self, reading: Reading, window: Window) -> dict[int, list[Told]]:
        """What the parts about rooms say, for the rooms that the filter lets pass."""
        if not window.rooms:
            return {}
        found: dict[int, list[Told]] = {}
        for part in self.sources.parts.of_rooms:
            of_part = await part.from_tail(reading, window)
            if of_part is None:
                raise AskTheDatabase
            for room_nid, told in of_part.items():
                if reading.filter.room.allows_room(window.rooms[room_nid].room_id):
                    found.setdefault(room_nid, []).append(told)
        return found

    def _told(self, reading: Reading, window: Window, room_nid: int, happened: Sequence[EventRow]) -> _Told | None:
        """What the client is told of a room; None where the filter leaves nothing."""
        room, view = window.rooms[room_nid], window.view
        wanted = reading.filter.room
        if not wanted.allows_room(room.room_id):
            return None
        rows = [row for row in happened if is_presentable(row)]
        self._check_rows(rows)
        passed: Sequence[EventRow] = ()
        if wanted.timeline.allows_room(room.room_id):
            heard = (row for row in rows if row.state_key is not None or row.sender not in view.ignored)
            passed = fitting(wanted.timeline, heard)
        if _state_count(passed) != _state_count(rows) or len(passed) > reading.timeline_limit:
            raise AskTheDatabase  # changes that the filter hides, or a gap
        if not passed:
            return None
        if reading.is_lazy and self._lacks(reading, room_nid, senders_to_show(passed)):
            raise AskTheDatabase
        return _Told(room_nid=room_nid, room=room, rows=passed, first=rows[0], own=view.rooms[room_nid])

    def _told_of_parts(self, window: Window, room_nid: int) -> _Told:
        """A room of which only parts tell."""
        own = window.view.rooms[room_nid]
        return _Told(room_nid=room_nid, room=window.rooms[room_nid], rows=(), first=None, own=own)

    def _check_rows(self, rows: Sequence[EventRow]) -> None:
        """Raise where what has become of the events is not certain: what is redacted meanwhile, or may have lost to
        state of another branch."""
        for row in rows:
            if row.redacted_by is not None or (row.type == REDACTION and len(rows) > 1):
                raise AskTheDatabase
            if row.state_key is not None and row.sender.server_name != self.server_name:
                raise AskTheDatabase

    def _lacks(self, reading: Reading, room_nid: int, members: set[UserId]) -> bool:
        """Whether a client that loads members lazily needs one of these, and was not sent them."""
        if not members:
            return False
        if reading.since is None or reading.filter.room.state.sends_redundant_members:
            return True
        key = (reading.user_id, reading.device_id, room_nid)
        return bool(self.sources.sent_members.unsent(key, members, reading.since))

    async def _surroundings(self, reading: Reading, by_room: Mapping[int, _Told]) -> Surroundings:
        """What is told beside the rows. Raises `AskTheDatabase` where the user was not in the room by the state that an
        event of another server stands on."""
        told = by_room.values()
        rows = [row for room in told for row in room.rows]
        foreign = {row.nid: row for row in rows if row.sender.server_name != self.server_name}
        own = [row for row in rows if row.sender == reading.user_id]
        if not foreign and not own and all(row.replaces is None for row in rows):
            return Surroundings(histories={room.room_nid: JOINED for room in told})
        async with self.database.connection() as tx:
            states = await self.sources.snapshots.load(tx, {row.snapshot for row in foreign.values() if row.snapshot})
            for room in told:
                for row in room.rows:
                    if row.nid in foreign and room.own[0] not in states.get(row.snapshot or 0, ()):
                        raise AskTheDatabase
            reader = Reader(user_id=reading.user_id, device_id=reading.device_id)
            histories = {room.room_nid: _history(reading.user_id, room) for room in told}
            return await self.sources.client_events.load_surroundings(tx, reader, rows, histories)

    async def _summaries(self, reading: Reading, told: Mapping[int, _Told]) -> Mapping[int, Summary]:
        """The summaries that may have changed. Raises `AskTheDatabase` where a lazy client lacks a hero."""
        changed = {room_nid: room for room_nid, room in told.items() if may_change_summary(room.rows)}
        if not changed:
            return {}
        wanted = {room_nid: (_newest(room.rows), room.room.version) for room_nid, room in changed.items()}
        members = await self.members_seen.load(wanted)
        summaries = {room_nid: of_room.summary_for(reading.user_id) for room_nid, of_room in members.items()}
        for room_nid, summary in summaries.items():
            heroes = set(summary.heroes or ()) - _members_among(changed[room_nid].rows)
            if reading.is_lazy and self._lacks(reading, room_nid, heroes):
                raise AskTheDatabase
        return summaries

    def _remember_members(self, reading: Reading, told: Mapping[int, _Told], position: int) -> None:
        for room in told.values():
            members = _members_among(room.rows)
            if members:
                key = (reading.user_id, reading.device_id, room.room_nid)
                self.sources.sent_members.add(key, members, position)

    def _room_json(
        self, reading: Reading, told: _Told, known: Surroundings, summary: Summary | None, members: Sequence[bytes]
    ) -> bytes:
        client_events, version, wanted = self.sources.client_events, told.room.version, reading.filter
        events = events_as_json(client_events, told.rows, version, known, wanted)
        state: list[bytes] = []
        if reading.wants_state_after and wanted.room.state.allows_room(told.room.room_id):
            state_rows = fitting(wanted.room.state, told.state_rows.values())
            state = events_as_json(client_events, state_rows, version, known, wanted)
        prev = None if told.first is None else place_before(told.first)
        parts = [b'"timeline":' + timeline_json(events, limited=False, prev=prev), *members]
        parts += [b'"%b":%b' % (key.encode(), events_json(state)) for key in reading.state_keys]
        if summary is not None:
            parts.append(b'"summary":' + summary.as_json())
        return room_json(told.room.room_id, parts)


def _members_among(rows: Sequence[EventRow]) -> set[UserId]:
    return {UserId(row.state_key) for row in rows if row.type == MEMBER and row.state_key is not None}


def _newest(rows: Sequence[EventRow]) -> int:
    """The position of the newest state event."""
    return max(row.position or 0 for row in rows if row.state_key is not None)


def _state_count(rows: Sequence[EventRow]) -> int:
    return sum(row.state_key is not None for row in rows)


def _history(user_id: UserId, told: _Told) -> MembershipHistory:
    """The user's history as far as memory knows it: since when they are in the room."""
    nid, position = told.own
    joined = MembershipRow(user_id=user_id, room_nid=told.room_nid, membership="join", event_nid=nid, position=position)
    return MembershipHistory((joined,))


JOINED = MembershipHistory((MembershipRow(user_id=UserId(""), room_nid=0, membership="join", event_nid=0, position=0),))
"""The history of a user who was in the room all the time."""
