"""Leaving rooms that this server is not in, and those that can't be left in order: declining invites, taking knocks
back.

A server in the room is asked to let the user out. Whether it does or not, they are out as far as this server is
concerned: leaving always succeeds.

Spec: https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.federation.client import FederationClient
from tim_server.federation.leaving import send_leave
from tim_server.federation.membership import make_member_event
from tim_server.matrix.errors import Forbidden, MatrixError, NotFound
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.rooms.remote.ask_in_turn import AskingBounds, ask_in_turn
from tim_server.services.rooms.remote.member_template import CheckedTemplate, check_template, member_event
from tim_server.services.rooms.remote.outside import OutsideChange, OutsideMemberships
from tim_server.services.rooms.remote.servers_of_room import ServersOfRoom
from tim_server.storage.events import load_events
from tim_server.storage.memberships import load_room_of_user
from tim_server.storage.outside_memberships import load_outside

ENDED = frozenset({"join", "invite", "knock"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLeave:
    """Lets users out. `bounds`: for how long other servers are asked to, since the user waits."""

    client: FederationClient
    servers: ServersOfRoom
    outside: OutsideMemberships
    now_ms: Callable[[], int]
    bounds: AskingBounds = field(default_factory=lambda: AskingBounds(servers_max=3, timeout_s=15.0))

    async def leave(self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any]) -> EventId:
        """Leave by help of a server in the room, or without. The leave event, of this content. Raises `NotFound` for
        who has nothing to do with the room, `Forbidden` for who is neither joined nor invited and does not knock,
        `BadJson` or `TooLarge` for the content."""
        template = await self._own_template(user_id, room_id)
        event = await self._build(template, user_id, content)
        try:
            event = await self._leave_through_others(user_id, room_id, content)
        except MatrixError as error:
            log.info("nobody let a user out of a room", room_id=room_id, errcode=error.errcode)
        change = OutsideChange(event=event, instead_of=ENDED, answers=template.prev_events[0])
        if not await self.outside.put(change):
            await self.outside.force(change)
        return event.event_id

    async def _own_template(self, user_id: UserId, room_id: RoomId) -> CheckedTemplate:
        """What a leave event must refer to that only this server will ever see: the membership that it ends."""
        store = self.outside.store
        async with store.database.read() as tx:
            room = await load_room_of_user(tx, room_id, user_id)
            if room is None:
                raise NotFound("Unknown room")
            if room.membership not in ENDED:
                raise Forbidden("You aren't a member of the room")
            outside = (await load_outside(tx, store.codec, [room.event_nid])).get(room.event_nid)
            stored = (await load_events(tx, store.codec, [room.event_nid])).get(room.event_nid)
        member = stored if outside is None else outside.event
        assert member is not None, "a membership has its event"
        return CheckedTemplate(
            room_id=room_id,
            version=room_version(room.room_version if outside is None else outside.room_version),
            prev_events=(member.event_id,),
            auth_events=(member.event_id,),
            depth=1,
            authorised_via=None,
        )

    async def _leave_through_others(self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any]) -> Event:
        """The leave event that a server in the room has taken; raises what `ask_in_turn` raises."""

        async def leave_through(server: ServerName) -> Event:
            return await self.leave_through(server, user_id, room_id, content)

        servers = await self.servers.to_ask(room_id, user_id)
        return (await ask_in_turn(servers, leave_through, self.bounds))[1]

    async def leave_through(
        self, server: ServerName, user_id: UserId, room_id: RoomId, content: Mapping[str, Any]
    ) -> Event:
        """The leave event that this server has taken into the room, of which nothing is stored here. Raises
        `RemoteError` and what `egress` raises."""
        made = await make_member_event(self.client, server, "leave", room_id, user_id)
        event = await self._build(check_template(made, server, room_id, user_id, "leave"), user_id, content)
        await send_leave(self.client, server, event)
        return event

    async def _build(self, template: CheckedTemplate, user_id: UserId, content: Mapping[str, Any]) -> Event:
        (nid,) = await self.outside.store.writer.take_nids(1)
        now_ms, author = self.now_ms(), self.client.author
        return member_event(template, user_id, content, author=author, now_ms=now_ms, unique=f"{nid}.{now_ms}")
