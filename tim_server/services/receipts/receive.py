"""What other servers say of how far their users have read: `m.receipt`.

A receipt for an event that has not come yet, since it takes another way or is history that nobody here has read, waits
for it a while.

Spec: https://spec.matrix.org/v1.19/server-server-api/#receipts
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

from tim_server.matrix.canonical_json import INTEGER_MAX
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, ServerName, UserId
from tim_server.services.transactions.admit_members import Admission, RoomAndUser, room_and_user
from tim_server.storage.commit_log import CommitEntry, Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.history_fill import FILLED
from tim_server.storage.receipts import (
    MAIN_THREAD,
    READ,
    UNTHREADED,
    MarkedEvent,
    Receipt,
    load_marked,
    may_stand_at,
    put_receipts,
    reach_of,
)
from tim_server.storage.writer import Writer

RECEIPTS_MAX = 2_000
"""How many receipts of one transaction are taken in."""
EARLY_MAX = 1_000
"""How many receipts wait for their events; the oldest give way."""

log = structlog.get_logger(__name__)


class Said(NamedTuple):
    """A user of another server has read a room up to an event."""

    room_nid: int
    user_id: UserId
    thread_id: str
    event_id: EventId
    ts: int


@dataclass(slots=True, kw_only=True)
class ReceiptReceiver:
    """Sets public receipts of users of other servers."""

    database: Database
    writer: Writer
    admission: Admission
    _early: "OrderedDict[EventId, list[Said]]" = field(default_factory=OrderedDict)
    _early_count: int = 0
    _late: "set[asyncio.Task[None]]" = field(default_factory=set)

    async def receive(self, origin: ServerName, contents: Sequence[Mapping[str, Any]]) -> None:
        """Take in these EDUs; a receipt never moves backwards."""
        read = list(_read_all(contents))
        rooms = await self.admission.rooms_of(origin, {pair for pair, _ in read})
        said = [each._replace(room_nid=rooms[pair]) for pair, each in read if pair in rooms]
        if said:
            await self._set(said)

    def follow(self, entry: CommitEntry) -> None:
        """Set the receipts that waited for these events, or for history of these rooms."""
        if not self._early:
            return
        came = {row.event_id for rows in entry.events.values() for row in rows} & self._early.keys()
        filled = {nid for nid, facts in entry.facts.items() if any(fact.stream == FILLED for fact in facts)}
        if filled:
            came |= {e for e, waiting in self._early.items() if any(each.room_nid in filled for each in waiting)}
        if came:
            said = [each for event_id in came for each in self._early.pop(event_id)]
            self._early_count -= len(said)
            task = asyncio.create_task(self._set(said), name="early-receipts")
            self._late.add(task)
            task.add_done_callback(self._is_done)

    async def close(self) -> None:
        """Finish what was begun."""
        await asyncio.gather(*self._late, return_exceptions=True)

    async def _set(self, said: Sequence[Said]) -> None:
        async with self.database.connection() as connection:
            events = await load_marked(connection, {each.event_id for each in said})
        for each in said:
            if each.event_id not in events:
                self._wait(each)
        receipts = list(_receipts(said, events))
        if receipts:
            await self.writer.write(_SetReceipts(receipts=receipts))

    def _wait(self, said: Said) -> None:
        self._early.setdefault(said.event_id, []).append(said)
        self._early_count += 1
        while self._early_count > EARLY_MAX:
            self._early_count -= len(self._early.popitem(last=False)[1])

    def _is_done(self, task: "asyncio.Task[None]") -> None:
        self._late.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("receipts could not be set", error=type(task.exception()).__name__)


def _read_all(contents: Iterable[Mapping[str, Any]]) -> Iterator[tuple[RoomAndUser, Said]]:
    """The receipts that EDUs tell, as far as they have the form, at most `RECEIPTS_MAX`. The room's nid is still 0."""
    count = 0
    for content in contents:
        for room_id, of_room in content.items():
            public = of_room.get(READ) if isinstance(of_room, dict) else None
            for user_id, receipt in public.items() if isinstance(public, dict) else ():
                count += 1
                if count > RECEIPTS_MAX:
                    return
                pair = room_and_user(room_id, user_id)
                said = None if pair is None else _read(pair[1], receipt)
                if pair is not None and said is not None:
                    yield pair, said


def _read(user_id: UserId, receipt: Any) -> Said | None:
    try:
        event_id = EventId.parse(receipt["event_ids"][-1])
        data = receipt["data"]
        ts, thread_id = data["ts"], data.get("thread_id", UNTHREADED)
        if not isinstance(ts, int) or not 0 <= ts <= INTEGER_MAX:
            return None
        if thread_id not in (UNTHREADED, MAIN_THREAD):
            thread_id = EventId.parse(thread_id)
    except (InvalidIdentifier, LookupError, TypeError, AttributeError):
        return None
    return Said(0, user_id, thread_id, event_id, ts)


def _receipts(said: Iterable[Said], events: Mapping[EventId, MarkedEvent]) -> Iterable[Receipt]:
    """What may be set: of several for one user, room and thread that which reaches furthest."""
    furthest: dict[tuple[int, UserId, str], Receipt] = {}
    for each in said:
        event = events.get(each.event_id)
        if event is None or event.room_nid != each.room_nid:
            continue
        if not may_stand_at(each.thread_id, event.event_id, event.thread_id):
            continue
        receipt = Receipt(
            room_nid=each.room_nid,
            user_id=each.user_id,
            receipt_type=READ,
            thread_id=each.thread_id,
            event_id=each.event_id,
            event_position=reach_of(event.position, event.minor),
            ts=each.ts,
        )
        key = (each.room_nid, each.user_id, each.thread_id)
        if key not in furthest or furthest[key].event_position < receipt.event_position:
            furthest[key] = receipt
    return furthest.values()


@dataclass(slots=True, kw_only=True)
class _SetReceipts:
    receipts: Sequence[Receipt]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        self.facts = tuple(receipt.as_fact() for receipt in await put_receipts(tx, self.receipts, position))
