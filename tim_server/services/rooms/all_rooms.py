"""What concerns all rooms of a user: a changed profile is repeated in their member events; who is deactivated leaves.

Spec: https://spec.matrix.org/v1.19/client-server-api/#events-on-change-of-profile-information
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden, MatrixError
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.events.client_format import content_json
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.leave import RoomLeave
from tim_server.services.rooms.member_content import MEMBER, load_names, member_content, membership_in
from tim_server.services.rooms.queue import RoomQueues
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.events import load_events
from tim_server.storage.memberships import UserRoom, load_rooms_of_user

ROOMS_AT_ONCE = 50
_REPLACED = frozenset({"displayname", "avatar_url", "join_authorised_via_users_server", "reason"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllRooms:
    """Sends member events into all rooms of a user. Rooms that refuse one are left as they are."""

    database: Database
    codec: Codec
    queues: RoomQueues
    leaving: RoomLeave

    async def propagate_profile(self, user_id: UserId) -> None:
        """Bring the user's member events up to date with the profile, in the rooms that they are joined to."""
        async with self.database.read() as tx:
            rooms = [room for room in await load_rooms_of_user(tx, user_id) if room.membership == "join"]
            rows = await load_events(tx, self.codec, [room.event_nid for room in rooms])
            names = (await load_names(tx, self.codec, [user_id])).get(user_id, {})

        async def send(room: UserRoom) -> None:
            present = decode_lenient(content_json(rows[room.event_nid], room_version(room.room_version)))
            content = {key: value for key, value in present.items() if key not in _REPLACED} | names
            if content != present:
                await self._send(user_id, room.room_id, content)

        await _for_each([room for room in rooms if room.event_nid in rows], send)

    async def leave_all(self, user_id: UserId) -> None:
        """Leave every room, decline every invite and take every knock back."""
        async with self.database.connection() as connection:
            rooms = await load_rooms_of_user(connection, user_id)

        async def leave(room: UserRoom) -> None:
            try:
                await self.leaving.leave_by(user_id, room.room_id, member_content("leave", names={}))
            except MatrixError as error:
                log.info("a room could not be left", room_id=room.room_id, errcode=error.errcode)

        await _for_each([room for room in rooms if room.membership in ("join", "invite", "knock")], leave)

    async def _send(self, user_id: UserId, room_id: RoomId, content: dict[str, Any]) -> None:
        draft = Draft(type=MEMBER, state_key=user_id, sender=user_id, content=content)
        try:
            await self.queues.submit(room_id, DraftGroup(drafts=(draft,), require=_require_joined))
        except MatrixError as error:
            log.info("a room refused a member event", room_id=room_id, errcode=error.errcode)


async def _for_each(rooms: Sequence[UserRoom], act: Callable[[UserRoom], Awaitable[None]]) -> None:
    """Act in all rooms, in so many at once."""
    at_once = asyncio.Semaphore(ROOMS_AT_ONCE)

    async def one(room: UserRoom) -> None:
        async with at_once:
            await act(room)

    async with asyncio.TaskGroup() as group:
        for room in rooms:
            group.create_task(one(room))


def _require_joined(present: Mapping[str, Any] | None) -> None:
    if membership_in(present) != "join":
        raise Forbidden("The user has left the room")
