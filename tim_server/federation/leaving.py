"""Giving a server in a room the leave event of a user of ours.

Spec: https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites
"""

from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import ServerName

BOUNDS = RequestBounds(timeout_s=10.0, size_bytes_max=64 * 1024)


async def send_leave(client: FederationClient, destination: ServerName, event: Event) -> None:
    """`PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}`, or v1 where a server knows that only.

    Raises `RemoteError` and what `egress` raises.
    """
    template = "/_matrix/federation/{}/send_leave/{}/{}"
    try:
        path = path_of(template, "v2", event.room_id, event.event_id)
        await client.put(destination, path, event.pdu, bounds=BOUNDS)
    except RemoteError as error:
        if not error.is_unrecognized:
            raise
        path = path_of(template, "v1", event.room_id, event.event_id)
        await client.put_v1(destination, path, event.pdu, bounds=BOUNDS)
