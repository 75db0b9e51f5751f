"""A device that keeps what it is told beside events, and what it ought to know: the same questions, asked of the
database at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.services.rooms.conftest import SERVER
from tests.services.sync.device import Device
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import OFFLINE
from tim_server.storage.account_data import read_all_account_data
from tim_server.storage.database import Connection
from tim_server.storage.one_time_keys import load_key_counts
from tim_server.storage.store import Store
from tim_server.storage.typing import load_typing
from tim_server.storage.unread import count_unread, load_read_positions

Json = dict[str, Any]

ROOMS = """
SELECT m.room_nid, r.room_id FROM memberships AS m JOIN rooms AS r ON r.nid = m.room_nid
WHERE m.user_id = $1 AND m.membership = 'join'
"""
RECEIPTS = """
SELECT user_id, receipt_type, thread_id, event_id FROM receipts
WHERE room_nid = $1 AND (receipt_type = 'm.read' OR user_id = $2) AND NOT user_id = ANY($3)
"""
SHARING = """
SELECT DISTINCT theirs.user_id FROM memberships AS own
JOIN memberships AS theirs ON theirs.room_nid = own.room_nid AND theirs.membership = 'join'
WHERE own.user_id = $1 AND own.membership = 'join'
"""
PRESENCE = "SELECT user_id, presence FROM presence WHERE user_id = ANY($1)"
DEVICES_CHANGED = "SELECT user_id, position FROM device_list_changes"
NOBODY = frozenset[str]()


@dataclass(kw_only=True)
class RoomKnowledge:
    """What a device knows of a joined room beside its events."""

    receipts: dict[tuple[str, str, str], str] = field(default_factory=dict)
    typing: set[str] = field(default_factory=set)
    account_data: dict[str, Json] = field(default_factory=dict)
    unread: int = 0


@dataclass(kw_only=True)
class Knowledge:
    """What a device knows beside events. `devices` holds the version of each user's device list that it has fetched."""

    rooms: dict[str, RoomKnowledge] = field(default_factory=dict)
    presence: dict[str, str] = field(default_factory=dict)
    account_data: dict[str, Json] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    messages: list[int] = field(default_factory=list)


async def read_truth(store: Store, user_id: UserId, device_id: str, ignored: frozenset[str]) -> Knowledge:
    """What a device of the user should know; of messages to the device its own record tells."""
    async with store.database.read() as tx:
        rooms = {row["room_id"]: row["room_nid"] for row in await tx.fetch(ROOMS, user_id)}
        sharing = {row["user_id"] for row in await tx.fetch(SHARING, user_id)} | {user_id}
        versions = {row["user_id"]: row["position"] or 0 for row in await tx.fetch(DEVICES_CHANGED)}
        presence = await tx.fetch(PRESENCE, list(sharing - ignored))
        counts = await load_key_counts(tx, user_id, device_id)
        known = Knowledge(
            rooms={room_id: await _of_room(tx, user_id, room_nid, ignored) for room_id, room_nid in rooms.items()},
            presence={row["user_id"]: row["presence"] for row in presence if row["presence"] != OFFLINE},
            devices={each: versions.get(each, 0) for each in sharing},
            keys={"signed_curve25519": 0, **counts.one_time_keys},
        )
        for entry in await read_all_account_data(tx, store.codec, user_id):
            place = known.rooms.get(entry.room_id)
            if place is not None or not entry.room_id:
                of_place = known.account_data if place is None else place.account_data
                of_place[entry.type] = orjson.loads(entry.content)
    return known


async def _of_room(tx: Connection, user_id: UserId, room_nid: int, ignored: frozenset[str]) -> RoomKnowledge:
    receipts = await tx.fetch(RECEIPTS, room_nid, user_id, list(ignored))
    read = await load_read_positions(tx, [(user_id, room_nid)])
    cells = await count_unread(tx, read, 2**62, [(user_id, sender) for sender in ignored])
    return RoomKnowledge(
        receipts={tuple(row)[:3]: row["event_id"] for row in receipts},
        typing=set((await load_typing(tx, [room_nid]))[room_nid]) - ignored,
        unread=sum(cell.events for cell in cells[(user_id, room_nid)] if cell.cell > 2),
    )


@dataclass
class KnowingDevice(Device):
    """A device that keeps everything. `sent_to` are the numbers of the messages that it was sent."""

    ignored: frozenset[str] = NOBODY
    store: Store | None = None
    known: Knowledge = field(default_factory=Knowledge)
    sent_to: list[int] = field(default_factory=list)

    async def next(self, *, timeout_ms: int = 0, **options: Any) -> Json:
        """One answer, kept; lists of devices are fetched at once."""
        is_first = self.since is None
        answer = await super().next(timeout_ms=timeout_ms, set_presence=OFFLINE, **options)
        truth = await self._read_truth()
        if is_first:
            self.known = Knowledge(devices=truth.devices)
        self.keep_beside_events(answer, truth.devices)
        return answer

    def keep_beside_events(self, answer: Json, versions: Mapping[str, int]) -> None:
        """Take in what the answer says beside events."""
        sections = answer.get("rooms", {})
        for room_id in (*sections.get("leave", {}), *sections.get("invite", {})):
            self.known.rooms.pop(room_id, None)
        for room_id, told in sections.get("join", {}).items():
            self._keep_in_room(self.known.rooms.setdefault(room_id, RoomKnowledge()), told)
        for event in answer.get("presence", {}).get("events", ()):
            assert event["sender"] not in self.ignored
            self.known.presence[event["sender"]] = event["content"]["presence"]
        for event in answer.get("account_data", {}).get("events", ()):
            self.known.account_data[event["type"]] = event["content"]
        lists = answer.get("device_lists", {})
        for user_id in lists.get("left", ()):
            self.known.devices.pop(user_id, None)
        for user_id in lists.get("changed", ()):
            self.known.devices[user_id] = versions.get(user_id, -1)
        for event in answer.get("to_device", {}).get("events", ()):
            self.known.messages.append(event["content"]["number"])
        self.known.keys = answer["device_one_time_keys_count"]

    def _keep_in_room(self, room: RoomKnowledge, told: Json) -> None:
        room.unread = told["unread_notifications"]["notification_count"]
        for event in told.get("account_data", {}).get("events", ()):
            room.account_data[event["type"]] = event["content"]
        for event in told.get("ephemeral", {}).get("events", ()):
            if event["type"] == "m.typing":
                room.typing = set(event["content"]["user_ids"])
                continue
            for event_id, kinds in event["content"].items():
                for kind, users in kinds.items():
                    for user_id, receipt in users.items():
                        assert kind == "m.read" or user_id == self.user_id, "a private receipt of somebody else"
                        room.receipts[user_id, kind, receipt.get("thread_id", "")] = event_id

    async def differences(self) -> list[tuple[object, object]]:
        """What the device knows and what it should, where that is not the same."""
        truth, known = await self._read_truth(), self.known
        sharing = truth.devices.keys() - self.ignored
        present = {u: p for u, p in known.presence.items() if p != OFFLINE and u in sharing}
        account_data = {kind: content for kind, content in known.account_data.items() if kind != "m.push_rules"}
        room_ids = known.rooms.keys() | truth.rooms.keys()
        compared: list[tuple[object, object]] = [
            *((known.rooms.get(room_id), truth.rooms.get(room_id)) for room_id in room_ids),
            (account_data, truth.account_data),
            (known.devices, truth.devices),
            (present, truth.presence),
            (known.keys, truth.keys),
            (known.messages, self.sent_to),
        ]
        return [(was_told, expected) for was_told, expected in compared if was_told != expected]

    async def _read_truth(self) -> Knowledge:
        assert self.store is not None
        return await read_truth(self.store, self.user_id, self.device_id, self.ignored)


def message(number: int) -> bytes:
    """A message to a device."""
    return json.dumps({"type": "x", "sender": f"@x:{SERVER}", "content": {"number": number}}).encode()
