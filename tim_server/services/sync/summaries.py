"""Room summaries: how many members there are, and after whom to name a room that has no name.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_roomsummary
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.events.client_format import content_json
from tim_server.services.sync.request import Reading
from tim_server.services.sync.rooms_to_sync import RoomPlan, Section
from tim_server.services.sync.sources import Sources
from tim_server.services.sync.timelines import Timeline
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow
from tim_server.storage.sync_queries import (
    count_members,
    find_membership_changes,
    load_first_members,
    load_state_of_keys,
)

HEROES_MAX = 5

NAMES = {"m.room.name": "name", "m.room.canonical_alias": "alias"}
"""State events that name a room, and the key of their content that does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one user is told. `heroes` is None where the room has a name of its own."""

    heroes: Sequence[UserId] | None
    joined: int
    invited: int

    def as_json(self) -> bytes:
        """The summary as clients get it."""
        fields: dict[str, object] = {} if self.heroes is None else {"m.heroes": self.heroes}
        return orjson.dumps(fields | {"m.joined_member_count": self.joined, "m.invited_member_count": self.invited})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomMembers:
    """What the summaries of all users are made from. `first` holds members, and whether they are joined or invited; it
    is empty where the room has a name of its own."""

    is_named: bool
    joined: int
    invited: int
    first: Sequence[tuple[UserId, bool]]

    def summary_for(self, user_id: UserId) -> Summary:
        """The summary for one user: heroes are others, and those who have left only where nobody else is there."""
        others = [(member, active) for member, active in self.first if member != user_id]
        any_active = any(active for _, active in others)
        heroes = [member for member, active in others if active or not any_active]
        return Summary(heroes=None if self.is_named else heroes[:HEROES_MAX], joined=self.joined, invited=self.invited)


async def load_summaries(
    tx: Connection, sources: Sources, reading: Reading, plans: Sequence[RoomPlan], timelines: Mapping[int, Timeline]
) -> dict[int, Summary]:
    """The summary of each joined room in which it is new to the client, or may have changed."""
    joined = [plan for plan in plans if plan.section is Section.JOIN]
    stayed = [plan.room_nid for plan in joined if not plan.is_whole]
    changed = {plan.room_nid for plan in joined if plan.is_whole or _may_rename(timelines.get(plan.room_nid))}
    if reading.since is not None:
        changed |= await find_membership_changes(tx, stayed, after=reading.since)
    versions = {plan.room_nid: room_version(plan.room.room_version) for plan in joined if plan.room_nid in changed}
    members = await load_room_members(tx, sources, versions)
    return {room_nid: of_room.summary_for(reading.user_id) for room_nid, of_room in members.items()}


def _may_rename(timeline: Timeline | None) -> bool:
    return timeline is not None and (timeline.limited or may_change_summary(timeline.rows, NAMES))


def may_change_summary(rows: Iterable[EventRow], types: Iterable[str] = (*NAMES, "m.room.member")) -> bool:
    """Whether there is a state event among the rows on which summaries depend."""
    wanted = set(types)
    return any(row.state_key is not None and row.type in wanted for row in rows)


async def load_room_members(
    tx: Connection, sources: Sources, versions: Mapping[int, RoomVersion]
) -> dict[int, RoomMembers]:
    """What the summaries of these rooms are made from; `versions` holds the version of each by nid."""
    room_nids = sorted(versions)
    marks = await load_state_of_keys(tx, [(room_nid, name, "") for room_nid in room_nids for name in NAMES])
    rows = await sources.rows.load(tx, marks)
    named = {row.room_nid for row in rows.values() if _is_name(row, versions[row.room_nid])}
    nameless = [room_nid for room_nid in room_nids if room_nid not in named]
    first = await load_first_members(tx, nameless, limit=HEROES_MAX + 1)
    counts = await count_members(tx, room_nids)
    return {
        room_nid: RoomMembers(
            is_named=room_nid in named,
            joined=counts.get((room_nid, "join"), 0),
            invited=counts.get((room_nid, "invite"), 0),
            first=first.get(room_nid, ()),
        )
        for room_nid in room_nids
    }


def _is_name(row: EventRow, version: RoomVersion) -> bool:
    """Whether the event gives the room a name, or a canonical alias, that is not empty."""
    name = orjson.loads(content_json(row, version)).get(NAMES[row.type])
    return isinstance(name, str) and bool(name)
