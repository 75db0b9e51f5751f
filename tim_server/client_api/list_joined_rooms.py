"""Listing one's rooms: `list_joined_rooms.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class GetJoinedRoomsRequest(RequestModel):
    """Nothing beside the requester."""


class GetJoinedRoomsResponse(ResponseModel):
    """The ids of the rooms."""

    joined_rooms: list[str]


async def get_joined_rooms(
    server: Homeserver, requester: Requester, _request: GetJoinedRoomsRequest
) -> GetJoinedRoomsResponse:
    """`GET /_matrix/client/v3/joined_rooms`: the rooms that the user is joined to.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms
    """
    return GetJoinedRoomsResponse(joined_rooms=list(await server.room_members.joined_rooms(requester)))


ROUTES = (Route("GET", "/_matrix/client/v3/joined_rooms", get_joined_rooms, auth=Auth.GUEST_OK),)
