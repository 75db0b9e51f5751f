"""The rooms that two users share.

Spec: https://spec.matrix.org/v1.19/client-server-api/#mutual-rooms
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import InvalidParam
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.storage.database import Database
from tim_server.storage.memberships import load_mutual_rooms

PAGE_ROOMS_MAX = 100

_TOKEN = re.compile(r"m([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualRoomsPage:
    """Some of the rooms, how many there are, and a token for the rest, if there is any."""

    joined: Sequence[RoomId]
    count: int
    next_batch: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualRooms:
    """Finds rooms that the requester shares with others."""

    database: Database

    async def with_user(self, requester: Requester, user_id: UserId, start: str | None) -> MutualRoomsPage:
        """Rooms that both are joined to, none for a user that is not known. Raises `InvalidParam` for the requester's
        own id, and for a token that is none of this server."""
        if user_id == requester.user_id:
            raise InvalidParam("One shares all rooms with oneself")
        match = _TOKEN.fullmatch("m0" if start is None else start)
        if match is None:
            raise InvalidParam("from is not a token of this server")
        async with self.database.connection() as connection:
            rooms = await load_mutual_rooms(connection, requester.user_id, user_id)
        rest = [(nid, room_id) for nid, room_id in rooms if nid > int(match[1])]
        page = rest[:PAGE_ROOMS_MAX]
        return MutualRoomsPage(
            joined=[room_id for _, room_id in page],
            count=len(rooms),
            next_batch=f"m{page[-1][0]}" if len(rest) > len(page) else None,
        )
