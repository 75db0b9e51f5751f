"""Tags of rooms: names that a user gives them, kept as the room's account data `m.tag`.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-tagging
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.matrix.errors import BadJson, Forbidden, InvalidParam, TooLarge
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.account_data.keep import ACCOUNT_DATA, AccountData
from tim_server.services.accounts.requester import Requester
from tim_server.services.json_values import encode_json
from tim_server.storage.account_data import read_account_data
from tim_server.storage.database import Connection

TAG = "m.tag"
NAME_BYTES_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomTags:
    """The tags that users give to rooms; each room has at most `per_room_max` of a user's."""

    account_data: AccountData
    per_room_max: int = 100

    async def list(self, requester: Requester, user_id: UserId, room_id: RoomId) -> dict[str, Any]:
        """The room's tags by name; raises `Forbidden` for another user's."""
        _check_owner(requester, user_id)
        return _tags_of(await self._read(user_id, room_id))

    async def set(
        self, requester: Requester, user_id: UserId, room_id: RoomId, name: str, tag: Mapping[str, Any]
    ) -> None:
        """Add a tag, or change it. Raises `Forbidden` for another user's, `InvalidParam` for a name that is empty or
        too long and for an order that is not from 0 to 1, `BadJson`, `TooLarge`."""
        _check_owner(requester, user_id)
        if not 0 < len(name.encode()) <= NAME_BYTES_MAX:
            raise InvalidParam(f"tag: the name must have 1 to {NAME_BYTES_MAX} bytes")
        _check_order(tag)
        encode_json(tag)
        if _tags_of(await self._read(user_id, room_id)).get(name) != tag:
            await self._change(user_id, room_id, name, tag)

    async def delete(self, requester: Requester, user_id: UserId, room_id: RoomId, name: str) -> None:
        """Take a tag away, if the room has it; raises `Forbidden` for another user's."""
        _check_owner(requester, user_id)
        if name in _tags_of(await self._read(user_id, room_id)):
            await self._change(user_id, room_id, name, None)

    async def _read(self, user_id: UserId, room_id: RoomId) -> bytes | None:
        async with self.account_data.database.connection() as connection:
            return await read_account_data(
                connection, self.account_data.codec, user_id, room_id=room_id, event_type=TAG
            )

    async def _change(self, user_id: UserId, room_id: RoomId, name: str, tag: Mapping[str, Any] | None) -> None:
        write = _ChangeTag(
            users=(user_id,),
            room_id=room_id,
            name=name,
            tag=tag,
            account_data=self.account_data,
            per_room_max=self.per_room_max,
        )
        await self.account_data.writer.write(write)


def _check_owner(requester: Requester, user_id: UserId) -> None:
    if requester.user_id != user_id:
        raise Forbidden("These are another user's tags")


def _check_order(tag: Mapping[str, Any]) -> None:
    """ "A number in a range [0,1] describing a relative position of the room under the given tag." """
    order = tag.get("order", 0)
    if isinstance(order, bool) or not isinstance(order, int | float):
        raise BadJson("order must be a number")
    if not 0 <= order <= 1:
        raise InvalidParam("order must be a number from 0 to 1")


def _tags_of(content: bytes | None) -> dict[str, Any]:
    """The tags in the content of `m.tag`, which clients may also set as a whole."""
    tags = {} if content is None else orjson.loads(content).get("tags")
    return tags if isinstance(tags, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _ChangeTag:
    """Sets one tag, or removes it where `tag` is None, beside whatever other devices do to the others."""

    users: tuple[UserId, ...]
    room_id: RoomId
    name: str
    tag: Mapping[str, Any] | None
    account_data: AccountData
    per_room_max: int
    streams: tuple[str, ...] = (ACCOUNT_DATA,)

    async def store(self, tx: Connection, position: int) -> None:
        user_id = self.users[0]
        content = await read_account_data(tx, self.account_data.codec, user_id, room_id=self.room_id, event_type=TAG)
        tags = _tags_of(content)
        tags.pop(self.name, None)
        if self.tag is not None:
            tags[self.name] = self.tag
        if len(tags) > self.per_room_max:
            raise TooLarge(f"A room must have at most {self.per_room_max} tags")
        encoded = encode_json({"tags": tags})
        if len(encoded) > self.account_data.policy.content_bytes_max:
            raise TooLarge(f"Account data must have at most {self.account_data.policy.content_bytes_max} bytes")
        await self.account_data.put_write(user_id, TAG, encoded, self.room_id).store(tx, position)
