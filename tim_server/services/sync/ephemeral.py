"""The `ephemeral` part of joined rooms: receipts, and who is typing.

Receipts stand whole in the commit log's tail, so that a woken sync asks nobody; what is the same for all who wait is
put together once. Of typing the tail says that it changed, and one look at the database serves everybody.

Of users whom the reader ignores nothing is told. Private receipts are told to nobody but their user.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receipts
https://spec.matrix.org/v1.19/client-server-api/#typing-notifications
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from tim_server.matrix.filters import RoomEventFilter
from tim_server.matrix.identifiers import UserId
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.sync.answer import events_json
from tim_server.services.sync.parts import Told
from tim_server.services.sync.request import Reading
from tim_server.services.sync.rooms_to_sync import RoomPlan
from tim_server.services.sync.window import Window
from tim_server.storage.commit_log import CommitEntry, Fact
from tim_server.storage.database import Connection
from tim_server.storage.receipts import (
    READ,
    RECEIPTS,
    UNTHREADED,
    find_rooms_with_new_receipts,
    load_receipts,
)
from tim_server.storage.typing import TYPING, find_rooms_with_changed_typing, load_typing

RECEIPT_EVENT = "m.receipt"
TYPING_EVENT = "m.typing"
RECEIPTS_MAX = 300
"""How many receipts of others are told of one room at once, and of the user's own, where the database is asked: those
that were set last. Where somebody had read in a room of thousands matters little if it is long ago."""
MERGED_MAX = 200

Value = tuple[str | int | None, ...]
"""A receipt as in a fact: user, type, thread, event, position of the event, time."""


@dataclass(slots=True, kw_only=True)
class Ephemeral:
    """Part of an answer. `typing` looks up who types in a room; `_merged` holds the public receipts of windows."""

    typing: SharedLookUps[int, tuple[UserId, ...]]
    _merged: "OrderedDict[tuple[int, int, int], Sequence[bytes]]" = field(default_factory=OrderedDict)

    async def from_tail(self, reading: Reading, window: Window) -> Mapping[int, Told] | None:
        """What the facts of the window say, which is everything."""
        if not window.facts:
            return {}
        wanted, ignored = reading.filter.room.ephemeral, window.view.ignored
        told: dict[int, list[bytes]] = {}
        if wanted.allows(RECEIPT_EVENT):
            for room_nid, facts in self._of_rooms(wanted, window, RECEIPTS).items():
                told[room_nid] = [*self._receipts(reading.user_id, ignored, window, (room_nid, facts))]
        if wanted.allows(TYPING_EVENT):
            changed = self._of_rooms(wanted, window, TYPING)
            if changed:
                for room_nid, users in (await self.typing.load(changed)).items():
                    told.setdefault(room_nid, []).append(typing_event(users, ignored))
        return {room_nid: _told(wanted, events) for room_nid, events in told.items() if events}

    async def find_changed(self, tx: Connection, reading: Reading, up_to: int) -> Collection[int]:
        """Rooms with receipts that the user may see, or changes of typing, after the token."""
        wanted, since = reading.filter.room.ephemeral, reading.since or 0
        found: set[int] = set()
        if wanted.allows(RECEIPT_EVENT):
            found.update(await find_rooms_with_new_receipts(tx, reading.user_id, since))
        if wanted.allows(TYPING_EVENT):
            found.update(await find_rooms_with_changed_typing(tx, reading.user_id, since))
        return found

    async def from_database(
        self, tx: Connection, reading: Reading, plans: Sequence[RoomPlan], up_to: int
    ) -> Mapping[int, Told]:
        """What there is of new rooms, and what has changed in others."""
        wanted = reading.filter.room.ephemeral
        told_of = [plan for plan in plans if wanted.allows_room(plan.room.room_id)]
        if not told_of:
            return {}
        told: dict[int, list[bytes]] = {}
        if wanted.allows(RECEIPT_EVENT):
            after = {plan.room_nid: plan.base or 0 for plan in told_of}
            for room_nid, values in (await _load_receipts(tx, reading, after)).items():
                told[room_nid] = receipt_events(values)
        if wanted.allows(TYPING_EVENT):
            for room_nid, event in (await _load_typing(tx, reading, told_of)).items():
                told.setdefault(room_nid, []).append(event)
        return {room_nid: _told(wanted, events) for room_nid, events in told.items()}

    def follow(self, entry: CommitEntry) -> None:
        """Who types in these rooms has changed."""
        for room_nid, facts in entry.facts.items():
            if any(fact.stream == TYPING for fact in facts):
                self.typing.drop((room_nid,))

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self.typing.clear()
        self._merged.clear()

    def _of_rooms(self, wanted: RoomEventFilter, window: Window, stream: str) -> dict[int, list[Fact]]:
        found = window.facts_of(stream)
        if wanted.rooms is None and not wanted.not_rooms:
            return found
        return {nid: facts for nid, facts in found.items() if wanted.allows_room(window.rooms[nid].room_id)}

    def _receipts(
        self, user_id: UserId, ignored: frozenset[str], window: Window, room: tuple[int, Sequence[Fact]]
    ) -> Sequence[bytes]:
        """The receipts of one room of the window. What all its members are told is put together once."""
        room_nid, facts = room
        own = [fact for fact in facts if fact.value[1] != READ and fact.value[0] == user_id]
        if own or (ignored and any(fact.value[0] in ignored for fact in facts)):
            heard = (fact.value for fact in facts if fact.value[1] == READ and fact.value[0] not in ignored)
            return receipt_events([*heard, *(fact.value for fact in own)])
        key = (room_nid, window.since, window.up_to)
        merged = self._merged.get(key)
        if merged is None:
            merged = self._merged[key] = receipt_events(fact.value for fact in facts if fact.value[1] == READ)
            if len(self._merged) > MERGED_MAX:
                self._merged.popitem(last=False)
        return merged


def receipt_events(values: Iterable[Value]) -> list[bytes]:
    """`m.receipt` events: one, unless a user has several receipts at the same event, for different threads. Of several
    receipts of a user for one type and thread the last one counts."""
    newest = {(user_id, kind, thread_id): (event_id, ts) for user_id, kind, thread_id, event_id, _, ts in values}
    contents: list[dict[str, dict[str, dict[str, object]]]] = []
    for (user_id, kind, thread_id), (event_id, ts) in newest.items():
        receipt = {"ts": ts} if thread_id == UNTHREADED else {"ts": ts, "thread_id": thread_id}
        for content in contents:
            users = content.setdefault(str(event_id), {}).setdefault(str(kind), {})
            if user_id not in users:
                users[str(user_id)] = receipt
                break
        else:
            contents.append({str(event_id): {str(kind): {str(user_id): receipt}}})
    return [orjson.dumps({"type": RECEIPT_EVENT, "content": content}) for content in contents]


def typing_event(users: Iterable[UserId], ignored: Collection[str]) -> bytes:
    """An `m.typing` event: everybody who is typing now."""
    user_ids = [user_id for user_id in users if user_id not in ignored]
    return orjson.dumps({"type": TYPING_EVENT, "content": {"user_ids": user_ids}})


async def _load_receipts(tx: Connection, reading: Reading, after: Mapping[int, int]) -> dict[int, list[Value]]:
    """Receipts by room."""
    found: dict[int, list[Value]] = {}
    for fact in await load_receipts(tx, reading.user_id, after, limit=RECEIPTS_MAX):
        if fact.value[0] not in reading.ignored:
            found.setdefault(fact.room_nid, []).append(fact.value)
    return found


async def _load_typing(tx: Connection, reading: Reading, plans: Sequence[RoomPlan]) -> dict[int, bytes]:
    """Who types, of rooms where that has changed, and of new rooms where anybody does. A first answer also says that
    nobody does where somebody has of late: the client may know that from before."""
    users_of = await load_typing(tx, [plan.room_nid for plan in plans])
    changed = set(await find_rooms_with_changed_typing(tx, reading.user_id, reading.since or 0))
    told = [
        plan.room_nid for plan in plans if plan.room_nid in changed or (plan.base is None and users_of[plan.room_nid])
    ]
    return {room_nid: typing_event(users_of[room_nid], reading.ignored) for room_nid in told}


def _told(wanted: RoomEventFilter, events: Sequence[bytes]) -> Told:
    """At most as many events as the filter says; what is left out does not come later."""
    limit = wanted.events.limit
    return Told(
        members=(b'"ephemeral":' + events_json(events if limit is None else events[: max(limit, 1)]),), is_news=True
    )
