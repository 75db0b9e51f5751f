"""An answer from the database: one transaction, whose first statement reads the clock, and the same number of queries
whatever the number of rooms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tim_server.matrix.room_versions import room_version
from tim_server.services.events.client_events import Reader, Surroundings
from tim_server.services.events.visibility import load_histories
from tim_server.services.sync.account_data import AccountDataChanges, load_account_data, load_room_account_data
from tim_server.services.sync.answer import Answer, events_json, room_json, timeline_json
from tim_server.services.sync.event_json import events_as_json
from tim_server.services.sync.parts import Told, token_after
from tim_server.services.sync.request import Reading
from tim_server.services.sync.room_state import load_states
from tim_server.services.sync.rooms_to_sync import RoomPlan, Section, plan_rooms
from tim_server.services.sync.sources import Sources
from tim_server.services.sync.stripped_state import load_stripped_states
from tim_server.services.sync.summaries import Summary, load_summaries
from tim_server.services.sync.timelines import Timeline, load_timelines
from tim_server.services.sync.views import MEMBER, Views
from tim_server.services.turns import in_turns
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow
from tim_server.storage.memberships import UserRoom, load_rooms_of_user
from tim_server.storage.sync_queries import load_changed_rooms_of_user

ROOMS_PER_TURN = 50
"""After how many rooms other requests get a turn while a large answer is put together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """All that an answer is put together from; maps are by room nid, room account data by room id."""

    reading: Reading
    position: int
    account_data: AccountDataChanges
    plans: Sequence[RoomPlan] = ()
    timelines: Mapping[int, Timeline] = field(default_factory=dict)
    summaries: Mapping[int, Summary] = field(default_factory=dict)
    states: Mapping[int, Sequence[EventRow]] = field(default_factory=dict)
    stripped: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    room_account_data: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    surroundings: Surroundings = field(default_factory=Surroundings)
    parts_of_rooms: Mapping[int, Sequence[Told]] = field(default_factory=dict)
    parts_of_user: Sequence[Told] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FromDatabase:
    """Answers any sync."""

    database: Database
    sources: Sources
    views: Views

    async def answer(self, reading: Reading) -> Answer:
        """What happened after `reading.since`, perhaps nothing. A token of the future, as after a restore of an older
        backup, counts as one of now."""
        async with self.database.read() as tx:
            loaded = await self._load(tx, reading)
        sections: dict[str, list[bytes]] = {}
        async for plan in in_turns(loaded.plans, per_turn=ROOMS_PER_TURN):
            member = self._room_json(loaded, plan)
            if member is not None:
                sections.setdefault(plan.section.value, []).append(member)
        if reading.is_lazy:
            self._remember_members(loaded)
        return _answer(loaded, sections)

    async def _load(self, tx: Connection, reading: Reading) -> _Loaded:
        now = await read_newest_position(tx)
        if reading.since is not None and reading.since > now:
            reading = replace(reading, since=now, to_device_since=None)
        account_data = await load_account_data(tx, self.sources.codec, reading, now)
        reading = replace(reading, ignored=account_data.ignored)
        rooms = await self._load_rooms(tx, reading, account_data, now)
        of_user = [await part.from_database(tx, reading, now) for part in self.sources.parts.of_user]
        loaded = _Loaded(reading=reading, position=now, account_data=account_data, parts_of_user=of_user)
        if not rooms:
            return loaded
        histories = await load_histories(tx, reading.user_id, [room.room_nid for room in rooms])
        plans = plan_rooms(reading, rooms, histories, now)
        timelines = await load_timelines(tx, self.sources, reading, plans, account_data.ignored)
        summaries = await load_summaries(tx, self.sources, reading, plans, timelines)
        states = await load_states(tx, self.sources, reading, plans, (timelines, summaries))
        rows = [row for timeline in timelines.values() for row in timeline.rows]
        parents = [row for timeline in timelines.values() if timeline.limited for row in timeline.rows]
        rows += [row for state in states.values() for row in state]
        reader = Reader(user_id=reading.user_id, device_id=reading.device_id)
        return replace(
            loaded,
            plans=plans,
            timelines=timelines,
            summaries=summaries,
            states=states,
            stripped=await load_stripped_states(tx, self.sources, reading.user_id, plans, account_data.ignored),
            room_account_data=await self._load_room_account_data(tx, reading, plans, account_data),
            surroundings=await self.sources.client_events.load_surroundings(
                tx, reader, rows, histories, parents=parents
            ),
            parts_of_rooms=await self._load_parts_of_rooms(tx, reading, plans, now),
        )

    async def _load_parts_of_rooms(
        self, tx: Connection, reading: Reading, plans: Sequence[RoomPlan], now: int
    ) -> dict[int, list[Told]]:
        found: dict[int, list[Told]] = {}
        joined = [plan for plan in plans if plan.section is Section.JOIN]
        for part in self.sources.parts.of_rooms:
            for room_nid, told in (await part.from_database(tx, reading, joined, now)).items():
                found.setdefault(room_nid, []).append(told)
        return found

    async def _load_rooms(
        self, tx: Connection, reading: Reading, account_data: AccountDataChanges, now: int
    ) -> list[UserRoom]:
        """The rooms to speak of; all of the user's where the view of them is wanted as well."""
        view = self.views.get(reading.user_id)
        is_about_all = reading.since is None or reading.full_state
        all_rooms = await load_rooms_of_user(tx, reading.user_id) if view is None or is_about_all else []
        if view is None:
            self.views.put(reading.user_id, all_rooms, account_data.ignored, now)
        elif now >= view.trusted_from:  # else another answer has read a newer list
            view.ignored = account_data.ignored
        if is_about_all:
            return all_rooms
        assert reading.since is not None
        beside: set[int] = set()
        for part in self.sources.parts.of_rooms:
            beside.update(await part.find_changed(tx, reading, now))
        return await load_changed_rooms_of_user(
            tx, reading.user_id, reading.since, room_ids=account_data.of_rooms, room_nids=beside
        )

    async def _load_room_account_data(
        self, tx: Connection, reading: Reading, plans: Sequence[RoomPlan], changes: AccountDataChanges
    ) -> Mapping[str, Sequence[bytes]]:
        """What changed, and all there is for rooms that the user has newly joined."""
        if reading.since is None:
            return changes.of_rooms
        new = [plan.room.room_id for plan in plans if plan.section is Section.JOIN and plan.base is None]
        return {**changes.of_rooms, **await load_room_account_data(tx, self.sources.codec, reading, new)}

    def _room_json(self, loaded: _Loaded, plan: RoomPlan) -> bytes | None:
        if plan.section in (Section.INVITE, Section.KNOCK):
            events = loaded.stripped.get(plan.room_nid)
            if events is None:
                return None
            return room_json(
                plan.room.room_id, (b'"%b_state":%b' % (plan.section.value.encode(), events_json(events)),)
            )
        timeline = loaded.timelines.get(plan.room_nid, Timeline())
        state = loaded.states.get(plan.room_nid, ())
        account_data = loaded.room_account_data.get(plan.room.room_id, ())
        summary = loaded.summaries.get(plan.room_nid)
        told = loaded.parts_of_rooms.get(plan.room_nid, ())
        may_be_left_out = plan.section is Section.JOIN and not plan.is_whole
        has_news = timeline.rows or timeline.limited or state or account_data or summary
        if may_be_left_out and not has_news and not any(part.is_news for part in told):
            return None
        events = self._events(loaded, plan, timeline.rows)
        parts = [b'"timeline":' + timeline_json(events, limited=timeline.limited, prev=timeline.prev)]
        state_events = events_json(self._events(loaded, plan, state))
        parts += [b'"%b":%b' % (key.encode(), state_events) for key in loaded.reading.state_keys]
        parts += [member for part in told for member in part.members]
        if account_data:
            parts.append(b'"account_data":' + events_json(account_data))
        if plan.section is Section.LEAVE:
            return room_json(plan.room.room_id, parts)
        if summary is not None:
            parts.append(b'"summary":' + summary.as_json())
        return room_json(plan.room.room_id, parts)

    def _events(self, loaded: _Loaded, plan: RoomPlan, rows: Sequence[EventRow]) -> list[bytes]:
        version = room_version(plan.room.room_version)
        return events_as_json(self.sources.client_events, rows, version, loaded.surroundings, loaded.reading.filter)

    def _remember_members(self, loaded: _Loaded) -> None:
        """Note which members a lazy client gets with this answer."""
        reading = loaded.reading
        for plan in loaded.plans:
            key = (reading.user_id, reading.device_id, plan.room_nid)
            if plan.is_whole:
                self.sources.sent_members.restart(key)
            rows = (*loaded.timelines.get(plan.room_nid, Timeline()).rows, *loaded.states.get(plan.room_nid, ()))
            members = {row.state_key for row in rows if row.type == MEMBER and row.state_key is not None}
            if members:
                self.sources.sent_members.add(key, members, loaded.position)


def _answer(loaded: _Loaded, sections: Mapping[str, Sequence[bytes]]) -> Answer:
    members = [member for part in loaded.parts_of_user for member in part.members]
    of_user = loaded.account_data.of_user
    if of_user:
        members.append(b'"account_data":' + events_json(of_user))
    has_news = bool(of_user) or any(sections.values()) or any(part.is_news for part in loaded.parts_of_user)
    token = token_after(loaded.position, loaded.parts_of_user)
    return Answer(token=token, members=members, rooms=sections, has_news=has_news)
