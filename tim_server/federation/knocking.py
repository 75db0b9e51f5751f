"""Giving a server in a room the knock of a user of ours.

Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_knockroomideventid
"""

from collections.abc import Sequence
from typing import Any

from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import ServerName

BOUNDS = RequestBounds(timeout_s=20.0, size_bytes_max=2 * 2**20)


async def send_knock(client: FederationClient, destination: ServerName, event: Event) -> Sequence[Any]:
    """`PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}`; what the server tells of the room, unchecked.

    Raises `RemoteError` and what `egress` raises.
    """
    path = path_of("/_matrix/federation/v1/send_knock/{}/{}", event.room_id, event.event_id)
    told = (await client.put(destination, path, event.pdu, bounds=BOUNDS)).get("knock_room_state")
    if not isinstance(told, list):
        raise RemoteError.malformed(destination, "the answer to the knock tells nothing of the room")
    return told
