"""Carry over what a user has set for a room to the room that replaces it: tags, direct chats, push rules.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from dataclasses import dataclass
from typing import Any

import structlog

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.account_data.keep import ACCOUNT_DATA
from tim_server.services.events.client_format import content_json
from tim_server.services.json_values import encode_json
from tim_server.services.push_rules.change import PushRuleChange
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.view import load_current_events
from tim_server.storage.account_data import GLOBAL, has_account_data, put_account_data, read_account_data
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.writer import Writer

CREATE = ("m.room.create", "")
TOMBSTONE = ("m.room.tombstone", "")
TAGS = "m.tag"
DIRECT = "m.direct"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryOver:
    """Follows users from a room to its replacement."""

    database: Database
    codec: Codec
    writer: Writer
    queues: RoomQueues
    push_rules: PushRuleChange

    async def into(self, user_id: UserId, room_id: RoomId) -> None:
        """Carry the user's settings over into a room that they have just joined, if it replaces one that they were in,
        and that one's tombstone says so too. Raises nothing: having joined matters more."""
        try:
            old = await self._predecessor(user_id, room_id)
            if old is None:
                return
            await self.writer.write(_CarryOver(users=(user_id,), codec=self.codec, old=old, new=room_id))
            await self.push_rules.carry_over(user_id, old, room_id)
        except MatrixError as error:
            log.info("settings were not carried over", room_id=room_id, errcode=error.errcode)

    async def _predecessor(self, user_id: UserId, room_id: RoomId) -> RoomId | None:
        """The room that this one replaces."""
        head = await self.queues.heads.get(room_id)
        nid = None if head is None else head.state.get(CREATE)
        if head is None or nid is None:
            return None
        create = (await self.queues.parsed.load([nid], head.version))[nid]
        old = room_in(create.content.get("predecessor"), "room_id")
        if old is None:
            return None
        async with self.database.read() as tx:
            room = await find_room_for_user(tx, old, user_id)
            if room is None or room.membership is None:
                return None
            row = (await load_current_events(tx, self.codec, room.room_nid, [TOMBSTONE])).get(TOMBSTONE)
        content = {} if row is None else decode_lenient(content_json(row, room_version(room.room_version)))
        return old if room_in(content, "replacement_room") == room_id else None


def room_in(content: Any, key: str) -> RoomId | None:
    """The room that a content names under this key; None where it names none."""
    try:
        return RoomId.parse(content[key])
    except (InvalidIdentifier, AttributeError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _CarryOver:
    users: tuple[UserId, ...]
    codec: Codec
    old: RoomId
    new: RoomId
    streams: tuple[str, ...] = (ACCOUNT_DATA,)

    async def store(self, tx: Connection, position: int) -> None:
        user_id = self.users[0]
        tags = await read_account_data(tx, self.codec, user_id, room_id=self.old, event_type=TAGS)
        if tags is not None and not await has_account_data(tx, user_id, room_id=self.new, event_type=TAGS):
            await self._put(tx, self.new, TAGS, tags, position)
        direct = await read_account_data(tx, self.codec, user_id, room_id=GLOBAL, event_type=DIRECT)
        if direct is not None:
            before = decode_lenient(direct)
            after = {user: self._followed(rooms) for user, rooms in before.items()}
            if after != before:
                await self._put(tx, GLOBAL, DIRECT, encode_json(after), position)

    def _followed(self, rooms: Any) -> Any:
        """The rooms with one user, with the new one where the old one is among them."""
        if not isinstance(rooms, list) or self.old not in rooms or self.new in rooms:
            return rooms
        return [*rooms, str(self.new)]

    async def _put(self, tx: Connection, room_id: str, event_type: str, content: bytes, position: int) -> None:
        stored = self.codec.encode(content)
        await put_account_data(
            tx, self.users[0], room_id=room_id, event_type=event_type, stored=stored, position=position
        )
