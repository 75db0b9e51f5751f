"""Which servers are told of an event of this one, as it is decided.

They are those that are in the room before it, so that a server whose last member it removes learns of that, and nothing
that comes after. An invite is sent to the invited user's server by itself; that it is taken back, or a knock refused,
is told to that server like this.

Spec: https://spec.matrix.org/v1.19/server-server-api/#pdus
"""

from collections.abc import Mapping

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.rooms.member_content import MEMBER, membership_in


def remote_servers(joined: Mapping[str, int], own: ServerName) -> tuple[ServerName, ...]:
    """The servers other than `own` that have joined members, of the count of them by server."""
    return tuple(sorted(ServerName(server) for server, count in joined.items() if count > 0 and server != own))


def servers_to_tell(
    event: Event, before: Event | None, in_room: tuple[ServerName, ...], own: ServerName
) -> tuple[ServerName, ...]:
    """Whom to tell: the other servers `in_room` before the event, and that of a user whose invite or knock, `before`,
    it ends."""
    if event.type != MEMBER or before is None or membership_in(event.content) not in ("leave", "ban"):
        return in_room
    server = UserId(event.state_key or "").server_name
    was_waiting = membership_in(before.content) in ("invite", "knock")
    return (*in_room, server) if was_waiting and server != own and server not in in_room else in_room
