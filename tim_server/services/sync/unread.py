"""The `unread_notifications` of joined rooms, and `unread_thread_notifications` where the filter asks for them.

Every joined room of an answer has its counts: clients take missing ones for none. The count that an event changes comes
with the event, and a receipt of the user's own tells their other devices.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import orjson

from tim_server.services.notifications.counts import UnreadCounts
from tim_server.services.notifications.unread import Count, RoomCounts
from tim_server.services.sync.parts import Told
from tim_server.services.sync.request import Reading
from tim_server.services.sync.rooms_to_sync import RoomPlan
from tim_server.services.sync.window import Window
from tim_server.storage.database import Connection
from tim_server.storage.receipts import READ, READ_PRIVATE, RECEIPTS
from tim_server.storage.unread import find_read_rooms


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadPart:
    """Part of an answer."""

    counts: UnreadCounts

    async def from_tail(self, reading: Reading, window: Window) -> Mapping[int, Told] | None:
        """The counts of the rooms in which anything happened, as they are now."""
        if not window.rooms:
            return {}
        room_ids = {room_nid: room.room_id for room_nid, room in window.rooms.items()}
        counts = await self.counts.newest(reading.user_id, room_ids, window.view.ignored)
        read = {
            room_nid
            for room_nid, facts in window.facts_of(RECEIPTS).items()
            if any(fact.value[0] == reading.user_id and fact.value[1] in (READ, READ_PRIVATE) for fact in facts)
        }
        return _told(reading, counts, read)

    async def find_changed(self, tx: Connection, reading: Reading, up_to: int) -> Collection[int]:
        """Rooms in which the user has read something since."""
        return await find_read_rooms(tx, reading.user_id, reading.since or 0)

    async def from_database(
        self, tx: Connection, reading: Reading, plans: Sequence[RoomPlan], up_to: int
    ) -> Mapping[int, Told]:
        """The counts of all rooms of the answer."""
        if not plans:
            return {}
        room_ids = {plan.room_nid: plan.room.room_id for plan in plans}
        counts = await self.counts.at(tx, reading.user_id, room_ids, reading.ignored, up_to)
        is_first = reading.since is None
        read = set[int]() if is_first else await find_read_rooms(tx, reading.user_id, reading.since or 0)
        return _told(reading, counts, read)


def _told(reading: Reading, counts: Mapping[int, RoomCounts], read: Collection[int]) -> dict[int, Told]:
    with_threads = reading.filter.room.timeline.unread_thread_notifications
    return {
        room_nid: Told(members=unread_json(of_room, with_threads=with_threads), is_news=room_nid in read)
        for room_nid, of_room in counts.items()
    }


def unread_json(counts: RoomCounts, *, with_threads: bool) -> list[bytes]:
    """The members of a room's object. With threads, those that have nothing unread are left out."""
    if not with_threads:
        return [b'"unread_notifications":' + _count_json(counts.total)]
    members = [b'"unread_notifications":' + _count_json(counts.main)]
    if counts.threads:
        threads = (orjson.dumps(root) + b":" + _count_json(count) for root, count in counts.threads.items())
        members.append(b'"unread_thread_notifications":{%b}' % b",".join(threads))
    return members


def _count_json(count: Count) -> bytes:
    return b'{"highlight_count":%d,"notification_count":%d}' % (count.highlight, count.notify)
