"""Asking a server to take an invite of one of its users, and to sign it.

Spec: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import RoomId, ServerName
from tim_server.matrix.room_versions import EventFormat

EXCHANGE_BOUNDS = RequestBounds(timeout_s=30.0, size_bytes_max=64 * 1024)
BOUNDS = RequestBounds(timeout_s=20.0, size_bytes_max=2 * 2**20)


async def send_invite(
    client: FederationClient, server_name: ServerName, event: Event, invite_room_state: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The invite as the server gives it back, unchecked. Raises what the client raises.

    "Senders which receive a 400 or 404 response to this endpoint should retry using the v1 API as the server may be
    older, if the room version is "1" or "2"."
    """
    template = "/_matrix/federation/{}/invite/{}/{}"
    body = {
        "room_version": event.room_version.identifier,
        "event": event.pdu,
        "invite_room_state": invite_room_state,
    }
    try:
        path = path_of(template, "v2", event.room_id, event.event_id)
        answer = await client.put(server_name, path, body, bounds=BOUNDS)
    except RemoteError as error:
        if error.status not in (400, 404) or event.room_version.event_format is not EventFormat.SENDER_ASSIGNED_ID:
            raise
        path = path_of(template, "v1", event.room_id, event.event_id)
        older = {**event.pdu, "unsigned": {"invite_room_state": invite_room_state}}
        answer = await client.put_v1(server_name, path, older, bounds=BOUNDS)
    signed = answer.get("event")
    if not isinstance(signed, dict):
        raise RemoteError.malformed(server_name, "the answer to the invite has no event")
    return signed


async def exchange_third_party_invite(
    client: FederationClient, destination: ServerName, room_id: RoomId, event: Mapping[str, Any]
) -> None:
    """`PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}`: have a server invite one of our users whom an
    identity server has found; `event` is the member event in part. Raises `RemoteError` and what `egress` raises.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#third-party-invites
    """
    path = path_of("/_matrix/federation/v1/exchange_third_party_invite/{}", room_id)
    await client.put(destination, path, event, bounds=EXCHANGE_BOUNDS)
