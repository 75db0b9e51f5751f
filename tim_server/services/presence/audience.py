"""Who is told of whose presence: everything that asks or tells goes through here.

Users are told of those with whom they share a room; of their own accord only where the room is small, since all of its
members are told of all others.

Spec: https://spec.matrix.org/v1.19/client-server-api/#security-considerations-3
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import UserPresence
from tim_server.services.presence.policy import PresencePolicy
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.presence import (
    PRESENCE_STREAM,
    find_small_rooms,
    load_changed_presence,
    load_presence,
    load_present,
    load_rooms_to_tell,
    share_a_room,
)
from tim_server.storage.shared_rooms import MemberStep, Move, load_moves

ROOMS_TOLD_MAX = 500
"""In how many of a user's rooms a change is told at once. Elsewhere only those learn of it whose token is from before
it when the database is asked for them."""
USERS_TOLD_MAX = 1_000
"""Of how many users one answer tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceAudience:
    """Decides who is told of whom."""

    codec: Codec
    policy: PresencePolicy

    async def may_ask(self, tx: Connection, reader: UserId, user_id: UserId) -> bool:
        """Whether the reader may ask for the user's presence."""
        return reader == user_id or await share_a_room(tx, reader, user_id)

    async def rooms_of(self, tx: Connection, users: Collection[UserId]) -> dict[UserId, list[int]]:
        """The rooms in which a change of each user's presence is told."""
        return await load_rooms_to_tell(tx, users, members_max=self.policy.room_members_max, rooms_max=ROOMS_TOLD_MAX)

    async def present(self, tx: Connection, reader: UserId) -> Sequence[UserPresence]:
        """Those who are not offline, of whom the reader is told without having been told of any."""
        return await load_present(
            tx, self.codec, reader, members_max=self.policy.room_members_max, limit=USERS_TOLD_MAX
        )

    async def changed(self, tx: Connection, reader: UserId, after: int) -> Sequence[UserPresence]:
        """Those whose presence changed after a position, or who have come to share a room with the reader since."""
        return await load_changed_presence(
            tx,
            self.codec,
            reader,
            members_max=self.policy.room_members_max,
            limit=USERS_TOLD_MAX,
            after=after,
        )

    async def arrivals(self, tx: Connection, steps: Collection[MemberStep]) -> dict[MemberStep, bool]:
        """Which member events have brought somebody into a room of whom the others there are told."""
        moves = await load_moves(tx, steps)
        small = await find_small_rooms(tx, {step.room_nid for step in steps}, members_max=self.policy.room_members_max)
        return {step: moves[step] is Move.IN and step.room_nid in small for step in steps}

    async def of_users(self, tx: Connection, users: Collection[UserId]) -> dict[UserId, UserPresence]:
        """The presence of users of whom the reader is told because of a fact or an arrival in a shared room."""
        return await load_presence(tx, self.codec, users)


def presence_facts(changed: Collection[UserId], rooms_of: dict[UserId, list[int]]) -> tuple[Fact, ...]:
    """One fact for each room, which names everybody in it whose presence changed."""
    by_room: dict[int, list[UserId]] = {}
    for user_id in changed:
        for room_nid in rooms_of.get(user_id, ()):
            by_room.setdefault(room_nid, []).append(user_id)
    return tuple(Fact(PRESENCE_STREAM, room_nid, tuple(users)) for room_nid, users in by_room.items())
