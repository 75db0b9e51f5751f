"""Setting state: `room_state.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class SetRoomStateWithKeyRequest(RequestModel):
    """Which state to set to what."""

    room_id: InPath[RoomId]
    event_type: InPath[str]
    state_key: InPath[str] = ""
    content: WholeBody[dict[str, Any]]


class SetRoomStateWithKeyResponse(ResponseModel):
    """The event that is in place now."""

    event_id: str


async def set_room_state_with_key(
    server: Homeserver, requester: Requester, request: SetRoomStateWithKeyRequest
) -> SetRoomStateWithKeyResponse:
    """`PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`: send a state event, unless it is in place.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
    """
    key = (request.event_type, request.state_key)
    event_id = await server.room_sender.send_state(requester, request.room_id, key, request.content)
    return SetRoomStateWithKeyResponse(event_id=event_id)


ROUTES = (
    Route(
        "PUT",
        "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}",
        set_room_state_with_key,
        auth=Auth.GUEST_OK,
        rate_limit="send",
    ),
)
