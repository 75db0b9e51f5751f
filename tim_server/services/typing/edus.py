"""What other servers are told of who types: `m.typing`.

Who goes on typing is told again from time to time, since other servers end it by themselves.

Spec: https://spec.matrix.org/v1.19/server-server-api/#typing-notifications
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.services.transactions.edus import NOBODY, Asked, Concerned, DueEdus, Edu, EduSource
from tim_server.services.transactions.rooms_to_tell import RoomsToTell
from tim_server.storage.commit_log import CommitEntry, Fact
from tim_server.storage.database import Connection
from tim_server.storage.typing import TYPING, TypingKey, find_rooms_with_typing, load_typing

REPEAT_INTERVAL_S = 20.0


@dataclass(slots=True, kw_only=True)
class TypingEdus(EduSource):
    """Users of this server who begin or cease to type, for the servers in the room."""

    server_name: ServerName
    rooms: RoomsToTell
    name: str = "typing"
    _may_go_on: bool = field(default=True)

    def concerned(self, entry: CommitEntry) -> Concerned:
        """The rooms in which our users begin or cease to type."""
        rooms = [nid for nid, facts in entry.facts.items() if any(map(self._is_told, facts))]
        if not rooms:
            return NOBODY
        self._may_go_on = True
        return Concerned(rooms=rooms)

    async def from_tail(self, asked: Asked, entries: Sequence[CommitEntry]) -> DueEdus | None:
        """Who has begun or ceased; of several changes the last counts."""
        if asked.whole:
            return None
        types = {
            TypingKey(room_nid=nid, user_id=UserId(fact.value[0])): bool(fact.value[1])
            for entry in entries
            for nid in entry.facts.keys() & (asked.rooms or ())
            for fact in entry.facts[nid]
            if self._is_told(fact)
        }
        return self._due(asked, types, await self.rooms.of(asked.destination, {key.room_nid for key in types}))

    async def from_database(self, tx: Connection, asked: Asked) -> DueEdus:
        """Who types now. Who has ceased while a server was away, the server knows by itself."""
        rooms = (asked.rooms or frozenset()) | asked.whole
        types = {
            TypingKey(room_nid=nid, user_id=user_id): True
            for nid, users in (await load_typing(tx, rooms)).items()
            for user_id in users
            if user_id.server_name == self.server_name
        }
        return self._due(asked, types, await self.rooms.read(tx, asked.destination, {key.room_nid for key in types}))

    async def rooms_to_repeat(self, tx: Connection) -> Collection[int]:
        """The rooms in which our users go on typing. Asks the database only while anybody may be typing."""
        if not self._may_go_on:
            return ()
        self._may_go_on = False
        rooms = await find_rooms_with_typing(tx, self.server_name)
        self._may_go_on = self._may_go_on or bool(rooms)
        return rooms

    def _is_told(self, fact: Fact) -> bool:
        return fact.stream == TYPING and UserId(fact.value[0]).server_name == self.server_name

    def _due(self, asked: Asked, types: Mapping[TypingKey, bool], ids: Mapping[int, RoomId]) -> DueEdus:
        edus = [
            Edu(
                edu_type="m.typing",
                content={"room_id": str(ids[key.room_nid]), "typing": is_typing, "user_id": str(key.user_id)},
            )
            for key, is_typing in types.items()
            if key.room_nid in ids
        ]
        return DueEdus(edus=edus, cursor=asked.up_to)
