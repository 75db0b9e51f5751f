"""Repeat display name and avatar in the member events of a user's rooms, when they change.

Spec: https://spec.matrix.org/v1.19/client-server-api/#events-on-change-of-profile-information
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden, MatrixError
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.events.client_format import content_json
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.member_content import MEMBER, load_names, membership_in
from tim_server.services.rooms.queue import RoomQueues
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.events import load_events
from tim_server.storage.memberships import UserRoom, load_rooms_of_user

ROOMS_AT_ONCE = 50
_REPLACED = frozenset({"displayname", "avatar_url", "join_authorised_via_users_server", "reason"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberProfiles:
    """Brings member events up to date with profiles."""

    database: Database
    codec: Codec
    queues: RoomQueues

    async def propagate(self, user_id: UserId) -> None:
        """Send a member event with the user's names into each room that they are joined to. Rooms that refuse it are
        left as they are."""
        async with self.database.read() as tx:
            rooms = [room for room in await load_rooms_of_user(tx, user_id) if room.membership == "join"]
            rows = await load_events(tx, self.codec, [room.event_nid for room in rooms])
            names = (await load_names(tx, self.codec, [user_id])).get(user_id, {})
        at_once = asyncio.Semaphore(ROOMS_AT_ONCE)

        async def send(room: UserRoom) -> None:
            present = decode_lenient(content_json(rows[room.event_nid], room_version(room.room_version)))
            content = {key: value for key, value in present.items() if key not in _REPLACED} | names
            if content == present:
                return
            async with at_once:
                await self._send(user_id, room.room_id, content)

        async with asyncio.TaskGroup() as group:
            for room in rooms:
                if room.event_nid in rows:
                    group.create_task(send(room))

    async def _send(self, user_id: UserId, room_id: RoomId, content: dict[str, Any]) -> None:
        draft = Draft(type=MEMBER, state_key=user_id, sender=user_id, content=content)
        try:
            await self.queues.submit(room_id, DraftGroup(drafts=(draft,), require=_require_joined))
        except MatrixError as error:
            log.info("a room did not take a changed profile", room_id=room_id, errcode=error.errcode)


def _require_joined(present: Mapping[str, Any] | None) -> None:
    if membership_in(present) != "join":
        raise Forbidden("The user has left the room")
