"""Room summaries: how many members there are, and after whom to name a room that has no name.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_roomsummary
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.events.client_format import content_json
from tim_server.services.sync.request import Reading
from tim_server.services.sync.rooms_to_sync import RoomPlan, Section
from tim_server.services.sync.sources import Sources
from tim_server.services.sync.timelines import Timeline
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow
from tim_server.storage.sync_queries import count_members, find_membership_changes, load_heroes, load_state_of_keys

HEROES_MAX = 5

NAMES = {"m.room.name": "name", "m.room.canonical_alias": "alias"}
"""State events that name a room, and the key of their content that does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """`heroes` is None where the room has a name of its own."""

    heroes: Sequence[UserId] | None
    joined: int
    invited: int

    def as_json(self) -> bytes:
        """The summary as clients get it."""
        fields: dict[str, object] = {} if self.heroes is None else {"m.heroes": self.heroes}
        fields |= {"m.joined_member_count": self.joined, "m.invited_member_count": self.invited}
        return orjson.dumps(fields)


async def load_summaries(
    tx: Connection, sources: Sources, reading: Reading, plans: Sequence[RoomPlan], timelines: Mapping[int, Timeline]
) -> dict[int, Summary]:
    """The summary of each joined room in which it is new to the client, or may have changed."""
    joined = [plan for plan in plans if plan.section is Section.JOIN]
    versions = {plan.room_nid: plan.room.room_version for plan in joined}
    stayed = [plan.room_nid for plan in joined if not plan.is_whole]
    changed = {plan.room_nid for plan in joined if plan.is_whole or _may_rename(timelines.get(plan.room_nid))}
    if reading.since is not None:
        changed |= await find_membership_changes(tx, stayed, after=reading.since)
    room_nids = sorted(changed)
    named = await _find_named(tx, sources, room_nids, versions)
    heroes = await load_heroes(tx, sorted(changed - named), reading.user_id, limit=HEROES_MAX)
    counts = await count_members(tx, room_nids)
    return {
        room_nid: Summary(
            heroes=None if room_nid in named else heroes.get(room_nid, []),
            joined=counts.get((room_nid, "join"), 0),
            invited=counts.get((room_nid, "invite"), 0),
        )
        for room_nid in room_nids
    }


def _may_rename(timeline: Timeline | None) -> bool:
    return timeline is not None and (timeline.limited or any(row.type in NAMES for row in timeline.rows))


async def _find_named(
    tx: Connection, sources: Sources, room_nids: Sequence[int], versions: Mapping[int, str]
) -> set[int]:
    """Those of the rooms that have a name or a canonical alias that is not empty."""
    marks = await load_state_of_keys(tx, [(room_nid, name, "") for room_nid in room_nids for name in NAMES])
    rows = await sources.rows.load(tx, marks)
    return {row.room_nid for row in rows.values() if _names(row, versions[row.room_nid])}


def _names(row: EventRow, version: str) -> bool:
    name = orjson.loads(content_json(row, room_version(version))).get(NAMES[row.type])
    return isinstance(name, str) and bool(name)
