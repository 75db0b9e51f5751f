"""What other servers are told of how far our users have read: `m.receipt`, of public receipts only.

Spec: https://spec.matrix.org/v1.19/server-server-api/#receipts
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.services.transactions.edus import NOBODY, Asked, Concerned, DueEdus, Edu, EduSource
from tim_server.services.transactions.rooms_to_tell import RoomsToTell
from tim_server.storage.commit_log import CommitEntry, Fact
from tim_server.storage.database import Connection
from tim_server.storage.receipts import (
    READ,
    RECEIPTS,
    UNTHREADED,
    PublicReceipt,
    load_newest_receipts,
    load_public_receipts,
)
from tim_server.storage.room_servers import find_rooms_of_server

RECEIPTS_PER_READ = 1_000
RECEIPTS_PER_EDU = 200
NEWEST_PER_ROOM = 300
"""How many receipts a server is told of that has just come into a room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptEdus(EduSource):
    """Receipts of users of this server, for the servers in the room."""

    server_name: ServerName
    rooms: RoomsToTell
    name: str = "receipts"

    def concerned(self, entry: CommitEntry) -> Concerned:
        """The rooms in which our users have read."""
        rooms = [nid for nid, facts in entry.facts.items() if any(map(self._is_told, facts))]
        return Concerned(rooms=rooms) if rooms else NOBODY

    async def from_tail(self, asked: Asked, entries: Sequence[CommitEntry]) -> DueEdus | None:
        """Facts hold receipts whole."""
        if asked.whole:
            return None
        rooms = asked.rooms or frozenset()
        receipts = [
            _read(fact, entry.position)
            for entry in entries
            for nid in entry.facts.keys() & rooms
            for fact in entry.facts[nid]
            if self._is_told(fact)
        ]
        ids = await self.rooms.of(asked.destination, {receipt.room_nid for receipt in receipts})
        return DueEdus(edus=receipt_edus(receipts, ids), cursor=asked.up_to)

    async def from_database(self, tx: Connection, asked: Asked) -> DueEdus:
        """What was read since the cursor, oldest first; in rooms that the server has come into, how far it is read."""
        rooms: Iterable[int] | None = asked.rooms
        if rooms is None:  # a server that never was told anything is told of the rooms that it comes into
            rooms = await find_rooms_of_server(tx, asked.destination) if asked.after else ()
        since = await load_public_receipts(
            tx, self.server_name, rooms, after=asked.after, up_to=asked.up_to, limit=RECEIPTS_PER_READ
        )
        newest = await load_newest_receipts(tx, self.server_name, asked.whole, limit=NEWEST_PER_ROOM)
        receipts = [*newest, *since]
        ids = await self.rooms.read(tx, asked.destination, {receipt.room_nid for receipt in receipts})
        more = len(since) >= RECEIPTS_PER_READ
        return DueEdus(edus=receipt_edus(receipts, ids), cursor=since[-1].position if more else asked.up_to, more=more)

    def _is_told(self, fact: Fact) -> bool:
        return (
            fact.stream == RECEIPTS and fact.value[1] == READ and UserId(fact.value[0]).server_name == self.server_name
        )


def _read(fact: Fact, position: int) -> PublicReceipt:
    user_id, _, thread_id, event_id, _, ts = fact.value
    return PublicReceipt(fact.room_nid, UserId(user_id), str(thread_id), EventId(event_id), int(ts or 0), position)


def receipt_edus(receipts: Iterable[PublicReceipt], room_ids: Mapping[int, RoomId]) -> list[Edu]:
    """EDUs that tell these receipts of the rooms that have an id here, the newest last: of several for one user, room
    and thread only that. An EDU has place for one receipt of a user in a room, so that those for several threads take
    several EDUs."""
    newest = {(each.room_nid, each.user_id, each.thread_id): each for each in receipts if each.room_nid in room_ids}
    contents: list[dict[str, dict[str, dict[str, Any]]]] = []
    sizes: list[int] = []
    for each in newest.values():
        data: dict[str, Any] = {"ts": each.ts}
        if each.thread_id != UNTHREADED:
            data["thread_id"] = each.thread_id
        room_id = str(room_ids[each.room_nid])
        for number, content in enumerate(contents):
            users = content.get(room_id, {}).get(READ, {})
            if sizes[number] < RECEIPTS_PER_EDU and each.user_id not in users:
                break
        else:
            number, content = len(contents), {}
            contents.append(content)
            sizes.append(0)
        users = content.setdefault(room_id, {}).setdefault(READ, {})
        users[str(each.user_id)] = {"data": data, "event_ids": [each.event_id]}
        sizes[number] += 1
    return [Edu(edu_type="m.receipt", content=content) for content in contents]
