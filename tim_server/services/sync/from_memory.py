"""An answer from the commit log's tail in memory, without a look at the tables: what nearly every woken sync gets.

It tells of messages in rooms that the user was in all the time. All else (state, memberships, redactions of what is in
the same answer, account data, gaps, members that a lazy client lacks) is left to `from_database`. At most it looks up
the transaction ids of the user's own events, and states that events of other servers stand on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.events.client_events import Surroundings
from tim_server.services.events.filtering import fitting
from tim_server.services.events.membership_history import MembershipHistory
from tim_server.services.events.tokens import place_before
from tim_server.services.events.visibility import is_presentable
from tim_server.services.sync.answer import Answer, events_json, joined_room_json, timeline_json
from tim_server.services.sync.event_json import events_as_json
from tim_server.services.sync.request import Reading
from tim_server.services.sync.sources import Sources
from tim_server.services.sync.views import UserView, ViewedRoom, Views
from tim_server.storage.client_transactions import load_transaction_ids
from tim_server.storage.commit_log import CommitLog
from tim_server.storage.database import Database
from tim_server.storage.events import EventRow
from tim_server.storage.state import MembershipRow

REDACTION = "m.room.redaction"
NO_EVENTS = events_json(())


class AskTheDatabase(Exception):
    """Memory does not suffice for this answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A room of the answer: the events that the client gets, and the first event of the window."""

    room_nid: int
    room: ViewedRoom
    rows: Sequence[EventRow]
    first: EventRow


@dataclass(frozen=True, slots=True, kw_only=True)
class FromMemory:
    """Answers incremental syncs from the tail. Events of other servers than `server_name` may stand on forks."""

    database: Database
    commit_log: CommitLog
    views: Views
    sources: Sources
    server_name: ServerName

    async def answer(self, reading: Reading) -> Answer:
        """What happened after `reading.since`, perhaps nothing; raises `AskTheDatabase`."""
        view, since, position = self.views.get(reading.user_id), reading.since, self.commit_log.position
        if since is None or reading.full_state or view is None or not view.trusted_from <= since <= position:
            raise AskTheDatabase
        if since >= view.touched_at:
            return Answer(position=position)
        happened = self._happened(view, since)
        told = [
            room
            for room_nid, rows in happened.items()
            if (room := self._told(reading, view, room_nid, rows)) is not None
        ]
        known = await self._surroundings(reading, view.rooms, told)
        return Answer(position=position, rooms={"join": [self._room_json(reading, room, known) for room in told]})

    def _happened(self, view: UserView, since: int) -> dict[int, Sequence[EventRow]]:
        """The events after `since` in the user's rooms."""
        entries = self.commit_log.since(since)
        if entries is None:
            raise AskTheDatabase
        happened: dict[int, Sequence[EventRow]] = {}
        for entry in entries:
            for room_nid, rows in entry.events.items():
                if room_nid in view.rooms:
                    before = happened.get(room_nid)
                    happened[room_nid] = rows if before is None else (*before, *rows)
        return happened

    def _told(self, reading: Reading, view: UserView, room_nid: int, happened: Sequence[EventRow]) -> _Told | None:
        """What the client is told of a room; None where the filter leaves nothing."""
        room = self.views.room(room_nid)
        wanted = reading.filter.room
        if not wanted.allows_room(room.room_id):
            return None
        rows = [row for row in happened if is_presentable(row)]
        if not _are_plain(rows):
            raise AskTheDatabase
        if not wanted.timeline.allows_room(room.room_id):
            return None
        passed = fitting(wanted.timeline, (row for row in rows if row.sender not in view.ignored))
        if not passed:
            return None
        if len(passed) > reading.timeline_limit or (reading.is_lazy and self._lacks_members(reading, room_nid, passed)):
            raise AskTheDatabase
        return _Told(room_nid=room_nid, room=room, rows=passed, first=rows[0])

    def _lacks_members(self, reading: Reading, room_nid: int, rows: Sequence[EventRow]) -> bool:
        """Whether a client that loads members lazily needs one that it was not sent."""
        if reading.since is None or reading.filter.room.state.sends_redundant_members:
            return True
        key = (reading.user_id, reading.device_id, room_nid)
        return bool(self.sources.sent_members.unsent(key, {row.sender for row in rows}, reading.since))

    async def _surroundings(
        self, reading: Reading, own_members: Mapping[int, int], told: Sequence[_Told]
    ) -> Surroundings:
        """What is told beside the rows. Raises `AskTheDatabase` where the user was not in the room by the state that an
        event of another server stands on."""
        own = [row.nid for room in told for row in room.rows if row.sender == reading.user_id]
        foreign = [row for room in told for row in room.rows if row.sender.server_name != self.server_name]
        transaction_ids: Mapping[int, str] = {}
        if foreign or (own and reading.device_id):
            async with self.database.connection() as tx:
                if own and reading.device_id:
                    transaction_ids = await load_transaction_ids(tx, own, reading.user_id, reading.device_id)
                states = await self.sources.snapshots.load(tx, {row.snapshot for row in foreign if row.snapshot})
            if any(own_members[row.room_nid] not in states.get(row.snapshot or 0, ()) for row in foreign):
                raise AskTheDatabase
        return Surroundings(transaction_ids=transaction_ids, histories={room.room_nid: JOINED for room in told})

    def _room_json(self, reading: Reading, told: _Told, known: Surroundings) -> bytes:
        events = events_as_json(self.sources.client_events, told.rows, told.room.version, known, reading.filter)
        timeline = timeline_json(events, limited=False, prev=place_before(told.first))
        states = [b'"%b":%b' % (key.encode(), NO_EVENTS) for key in reading.state_keys]
        return joined_room_json(told.room.room_id, (b'"timeline":' + timeline, *states))


def _are_plain(rows: Sequence[EventRow]) -> bool:
    """Whether the events need no more than their rows: no state, nothing that is or becomes redacted among them."""
    if any(row.state_key is not None or row.redacted_by is not None for row in rows):
        return False
    return len(rows) < 2 or all(row.type != REDACTION for row in rows)


JOINED = MembershipHistory((MembershipRow(user_id=UserId(""), room_nid=0, membership="join", event_nid=0, position=0),))
"""The history of a user who was in the room all the time."""
