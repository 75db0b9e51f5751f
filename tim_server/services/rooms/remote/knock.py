"""Knocking on rooms that this server is not in, through a server that is.

Spec: https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.knocking import send_knock
from tim_server.federation.membership import make_member_event
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.services.rooms.remote.ask_in_turn import AskingBounds, ask_in_turn
from tim_server.services.rooms.remote.member_template import check_template, member_event
from tim_server.services.rooms.remote.outside import OutsideChange, OutsideMemberships
from tim_server.services.rooms.remote.servers_of_room import ServersOfRoom
from tim_server.services.rooms.remote.told_state import ToldState

_NOT_IN_ROOM = (None, "invite", "knock", "leave", "ban")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteKnock:
    """Knocks. `bounds`: for how long other servers are asked to, since the user waits."""

    client: FederationClient
    servers: ServersOfRoom
    outside: OutsideMemberships
    told_state: ToldState
    now_ms: Callable[[], int]
    bounds: AskingBounds = field(default_factory=lambda: AskingBounds(timeout_s=60.0))

    async def knock(
        self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any], named: Sequence[ServerName]
    ) -> None:
        """Knock with this member content; who knocks already has nothing to do. `named` servers are said to be in the
        room. Raises what `ask_in_turn` raises, `Forbidden` where the trust gate refuses all servers."""
        row = (await self.outside.find(room_id, [user_id])).get(user_id)
        if row is not None and row.membership == "knock":
            return

        async def knock_through(server: ServerName) -> tuple[Event, Sequence[Any]]:
            made = await make_member_event(self.client, server, "knock", room_id, user_id)
            template = check_template(made, server, room_id, user_id, "knock")
            if not template.version.knock_join_rule:
                raise RemoteError.malformed(server, "the template is of a room version without knocks")
            (nid,) = await self.outside.store.writer.take_nids(1)
            now_ms = self.now_ms()
            event = member_event(
                template, user_id, content, author=self.client.author, now_ms=now_ms, unique=f"{nid}.{now_ms}"
            )
            return event, await send_knock(self.client, server, event)

        servers = await self.servers.to_ask(room_id, user_id, named)
        server, (event, told) = await ask_in_turn(servers, knock_through, self.bounds)
        state = await self.told_state.read_knocked(told, event.room_version, room_id, user_id)
        await self.outside.put(OutsideChange(event=event, instead_of=_NOT_IN_ROOM, via=server, stripped_state=state))
