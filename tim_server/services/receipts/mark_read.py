"""Mark a room, or a thread of it, as read up to an event: public and private receipts, and the fully-read marker.

A receipt never moves backwards, and one that would not move costs no write. The fully-read marker is kept as account
data of the room, which only this service sets.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receipts
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from tim_server.matrix.errors import Forbidden, InvalidParam, NotFound, Unavailable
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.services.account_data.keep import ACCOUNT_DATA, AccountData, PutAccountData
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.visibility import EventVisibility, load_histories
from tim_server.storage.account_data import read_account_data
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow, load_events_by_id
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.receipts import UNTHREADED, Receipt, load_reached, may_stand_at, put_receipts, reach_of
from tim_server.storage.writer import Writer

FULLY_READ = "m.fully_read"
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Read up to an event: a receipt of this type, or `m.fully_read`. `thread_id` is empty for all of the room."""

    receipt_type: str
    event_id: EventId
    thread_id: str = UNTHREADED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """The room, the events that are marked, how far the user's receipts reach, and their fully-read marker."""

    room_nid: int
    events: Mapping[EventId, EventRow]
    reached: Mapping[tuple[str, str], int]
    fully_read: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMarkers:
    """Moves the requester's receipts and fully-read markers."""

    database: Database
    writer: Writer
    codec: Codec
    visibility: EventVisibility
    account_data: AccountData
    now_ms: Callable[[], int]

    async def mark(self, requester: Requester, room_id: RoomId, marks: Sequence[Mark]) -> None:
        """Carry out all of the marks, each of another type, or none.

        Raises `Forbidden` for who is not joined, `NotFound` for an event that is not there or not for them to see,
        `InvalidParam` for a thread that the event is not part of.
        """
        for _ in range(_TRIES):
            async with self.database.read() as tx:
                loaded = await self._load(tx, requester.user_id, room_id, marks)
            write = self._decide(requester.user_id, room_id, marks, loaded)
            if write is None or await self.writer.write(write):
                return
        raise Unavailable("Others change this read marker all the time; try again")

    async def _load(self, tx: Connection, user_id: UserId, room_id: RoomId, marks: Sequence[Mark]) -> _Loaded:
        room = await find_room_for_user(tx, room_id, user_id)
        if room is None or room.membership != "join":
            raise Forbidden("You aren't a member of the room")
        fully_read = None
        if any(mark.receipt_type == FULLY_READ for mark in marks):
            fully_read = await read_account_data(tx, self.codec, user_id, room_id=room_id, event_type=FULLY_READ)
        wanted = {mark.event_id for mark in marks}
        rows = await load_events_by_id(tx, self.codec, wanted | _event_ids(fully_read))
        in_room = [row for row in rows.values() if row.room_nid == room.room_nid]
        histories = await load_histories(tx, user_id, [room.room_nid])
        seen = {row.event_id: row for row in await self.visibility.visible(tx, user_id, in_room, histories)}
        if wanted - seen.keys():
            raise NotFound("There is no such event")
        keys = [(mark.receipt_type, mark.thread_id) for mark in marks]
        reached = await load_reached(tx, room.room_nid, user_id, keys)
        return _Loaded(room_nid=room.room_nid, events=seen, reached=reached, fully_read=fully_read)

    def _decide(
        self, user_id: UserId, room_id: RoomId, marks: Sequence[Mark], loaded: _Loaded
    ) -> "_MoveMarkers | None":
        """What moves forward; None where nothing does."""
        receipts = []
        fully_read = None
        for mark in marks:
            row = loaded.events[mark.event_id]
            if mark.receipt_type == FULLY_READ:
                if _is_ahead(row, (loaded.events.get(event_id) for event_id in _event_ids(loaded.fully_read))):
                    content = orjson.dumps({"event_id": mark.event_id})
                    fully_read = self.account_data.put_write(user_id, FULLY_READ, content, room_id)
                continue
            receipt = Receipt(
                room_nid=loaded.room_nid,
                user_id=user_id,
                receipt_type=mark.receipt_type,
                thread_id=_thread_of(mark, row),
                event_id=mark.event_id,
                event_position=_reach_of(row),
                ts=self.now_ms(),
            )
            if loaded.reached.get(receipt.key, -1) < receipt.event_position:
                receipts.append(receipt)
        if not receipts and fully_read is None:
            return None
        return _MoveMarkers(
            users=(user_id,), receipts=receipts, fully_read=fully_read, replaces=loaded.fully_read, codec=self.codec
        )


def _thread_of(mark: Mark, row: EventRow) -> str:
    """The receipt's thread; raises `InvalidParam` where the event is not part of it."""
    if not may_stand_at(mark.thread_id, row.event_id, row.thread_id):
        raise InvalidParam("thread_id: the event is not part of this thread")
    return mark.thread_id


def _reach_of(row: EventRow) -> int:
    assert row.position is not None
    return reach_of(row.position, row.minor)


def _is_ahead(row: EventRow, others: Iterable[EventRow | None]) -> bool:
    """Whether the event stands in the timeline after all of these; those that can't be seen any more don't count."""
    return all(other is None or (row.position, row.minor) > (other.position, other.minor) for other in others)


def _event_ids(fully_read: bytes | None) -> set[EventId]:
    """The event that the fully-read marker stands at."""
    return set() if fully_read is None else {EventId(orjson.loads(fully_read)["event_id"])}


@dataclass(slots=True, kw_only=True)
class _MoveMarkers:
    """Sets the receipts that are still ahead, and the fully-read marker if it is still `replaces`; False otherwise."""

    users: tuple[UserId, ...]
    receipts: Sequence[Receipt]
    fully_read: PutAccountData | None
    replaces: bytes | None
    codec: Codec
    facts: tuple[Fact, ...] = field(default=())

    @property
    def streams(self) -> tuple[str, ...]:
        """The marker is account data; receipts are facts of the room."""
        return () if self.fully_read is None else (ACCOUNT_DATA,)

    async def store(self, tx: Connection, position: int) -> bool:
        """Whether nothing needs to be decided again."""
        moved = await put_receipts(tx, self.receipts, position) if self.receipts else []
        self.facts = tuple(receipt.as_fact() for receipt in moved)
        put = self.fully_read
        if put is None:
            return True
        current = await read_account_data(tx, self.codec, put.users[0], room_id=put.room_id, event_type=FULLY_READ)
        if current != self.replaces:
            return False
        await put.store(tx, position)
        return True
