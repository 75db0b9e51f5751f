"""What other servers are told of who is there: `m.presence`, of users with whom theirs share a room that is small
enough to spread presence.

Who is there is told again from time to time, since other servers take who is not heard of for offline.

Spec: https://spec.matrix.org/v1.19/server-server-api/#presence
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.matrix.presence import UserPresence, presence_content
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.transactions.edus import NOBODY, Asked, Concerned, DueEdus, Edu, EduSource
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.presence import (
    PRESENCE_STREAM,
    find_rooms_with_presence,
    find_small_rooms,
    load_presence_in_rooms,
)
from tim_server.storage.room_servers import find_rooms_of_server
from tim_server.storage.shared_rooms import MemberStep

USERS_PER_EDU = 100
USERS_MAX = 2_000
"""Of how many users one look at the database tells."""
REPEAT_INTERVAL_S = 1_200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceEdus(EduSource):
    """The presence of users of this server. `look_ups` knows it until it changes, `arrivals` which member events have
    brought somebody of whom the others in the room are told."""

    server_name: ServerName
    audience: PresenceAudience
    look_ups: SharedLookUps[UserId, UserPresence]
    arrivals: SharedLookUps[MemberStep, bool]
    now_ms: Callable[[], int]
    name: str = "presence"

    def concerned(self, entry: CommitEntry) -> Concerned:
        """The rooms in which a change is told, and those into which our users may have come."""
        if not self.audience.policy.enabled:
            return NOBODY
        rooms = {nid for nid, facts in entry.facts.items() for fact in facts if fact.stream == PRESENCE_STREAM}
        rooms |= {step.room_nid for step in self._steps([entry])}
        return Concerned(rooms=rooms) if rooms else NOBODY

    async def from_tail(self, asked: Asked, entries: Sequence[CommitEntry]) -> DueEdus | None:
        """Those who changed or came."""
        if asked.whole:
            return None
        rooms = asked.rooms or frozenset()
        changed = {
            UserId(user_id)
            for entry in entries
            for nid in entry.facts.keys() & rooms
            for fact in entry.facts[nid]
            if fact.stream == PRESENCE_STREAM
            for user_id in fact.value
        }
        steps = [step for step in self._steps(entries) if step.room_nid in rooms]
        came = {step.user_id for step, is_arrival in (await self.arrivals.load(steps)).items() if is_arrival}
        wanted = [user_id for user_id in changed | came if user_id.server_name == self.server_name]
        known = (await self.look_ups.load(wanted)).values()
        told = (p for p in known if p.user_id in changed or p != UserPresence(user_id=p.user_id))
        return self._due(asked, told)

    async def from_database(self, tx: Connection, asked: Asked) -> DueEdus:
        """Those who changed; in rooms of which everything is told, those who are there."""
        if not self.audience.policy.enabled:
            return self._due(asked, ())
        rooms = await find_rooms_of_server(tx, asked.destination) if asked.rooms is None else asked.rooms
        small = await find_small_rooms(tx, {*rooms, *asked.whole}, members_max=self.audience.policy.room_members_max)
        told = await load_presence_in_rooms(
            tx,
            self.audience.codec,
            self.server_name,
            (small, small & asked.whole),
            after=asked.after,
            limit=USERS_MAX,
        )
        return self._due(asked, told)

    async def rooms_to_repeat(self, tx: Connection) -> Collection[int]:
        """The rooms in which our users are there."""
        if not self.audience.policy.enabled:
            return ()
        rooms = await find_rooms_with_presence(tx)
        return await find_small_rooms(tx, rooms, members_max=self.audience.policy.room_members_max)

    def follow(self, entry: CommitEntry) -> None:
        """The presence of these users has changed."""
        self.look_ups.drop(user_id for user_id, streams in entry.users.items() if PRESENCE_STREAM in streams)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self.look_ups.clear()
        self.arrivals.clear()

    def _steps(self, entries: Iterable[CommitEntry]) -> list[MemberStep]:
        """Member events of our users."""
        return [
            MemberStep(room_nid, UserId(row.state_key or ""), row.position or 0)
            for entry in entries
            for room_nid, rows in entry.events.items()
            for row in rows
            if row.type == MEMBER and UserId(row.state_key or "").server_name == self.server_name
        ]

    def _due(self, asked: Asked, told: Iterable[UserPresence]) -> DueEdus:
        now_ms, users = self.now_ms(), list(told)
        edus = [
            Edu(edu_type="m.presence", content={"push": [_push(presence, now_ms) for presence in some]})
            for some in (users[start : start + USERS_PER_EDU] for start in range(0, len(users), USERS_PER_EDU))
        ]
        return DueEdus(edus=edus, cursor=asked.up_to)


def _push(presence: UserPresence, now_ms: int) -> dict[str, Any]:
    return {"last_active_ago": 0, **presence_content(presence, now_ms), "user_id": str(presence.user_id)}
