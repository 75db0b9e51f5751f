"""Set the membership of somebody as state: the same rules as those of the endpoints for each kind of change.

Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.invite_permission import check_take_invites
from tim_server.services.rooms.join import RoomJoin
from tim_server.services.rooms.leave import RoomLeave
from tim_server.services.rooms.member_content import AUTHORISED_VIA, MEMBER, load_names, with_names
from tim_server.services.rooms.moderate import require_invitable, require_removable
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.remote.invite import Invites
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """Sets member events whose content the client gives."""

    database: Database
    codec: Codec
    queues: RoomQueues
    join: RoomJoin
    leaving: RoomLeave
    invites: Invites

    async def set(self, requester: Requester, room_id: RoomId, target: UserId, content: Mapping[str, Any]) -> EventId:
        """Send a member event; where the same sender has sent the same content, that event stands. A content without
        display name and avatar gets those of the profile, unless it makes the user leave or bans them.

        Raises what joining, leaving, knocking, inviting, kicking and banning raise.
        """
        membership, is_own = content["membership"], target == requester.user_id
        if is_own and membership == "join":
            return await self.join.join_as(requester, room_id, content)
        if not (is_own and membership == "leave"):  # which also who is suspended may
            check_may_act(requester)
        told = {key: value for key, value in content.items() if key != AUTHORISED_VIA}
        if membership in ("invite", "knock"):
            async with self.database.connection() as connection:
                if membership == "invite":
                    await check_take_invites(connection, self.codec, [target])
                names = await load_names(connection, self.codec, [target])
            told = with_names(told, names.get(target, {}))

        def is_in_place(sender: UserId, present: dict[str, Any]) -> bool:
            return sender == requester.user_id and present == told

        if is_own and membership == "leave":
            return await self.leaving.leave_by(target, room_id, told, unless=is_in_place)
        draft = Draft(type=MEMBER, state_key=target, sender=requester.user_id, content=told)
        require = None if is_own else _REQUIRED.get(membership)
        group = DraftGroup(drafts=(draft,), unless=is_in_place, require=require)
        if membership == "invite":
            return await self.invites.submit(room_id, group)
        (event_id,) = await self.queues.submit(room_id, group)
        return event_id


_REQUIRED: Mapping[str, Callable[[Mapping[str, Any] | None], None]] = {
    "invite": require_invitable,
    "leave": require_removable,
}
"""What must be so of another's membership before it is set."""
