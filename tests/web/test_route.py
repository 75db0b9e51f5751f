"""Routes are held against their endpoint when they are made."""

import pytest

from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Auth, Route


class RoomRequest(RequestModel):
    room_id: InPath[RoomId]


async def get_room(server, requester, request: RoomRequest):
    return EmptyResponse()


async def get_room_by_name(server, requester, request: "RoomRequest"):
    return EmptyResponse()


async def get_public_room(server, request: RoomRequest):
    return EmptyResponse()


async def untyped(server, request):
    return EmptyResponse()


@pytest.mark.parametrize("endpoint", [get_room, get_room_by_name])
def test_a_route_knows_its_parameters(endpoint):
    route = Route("GET", "/rooms/{roomId}/", endpoint)
    assert route.parameters == ("roomId",)
    assert route.segments == ("rooms", "{roomId}", "")
    assert route.reader.model is RoomRequest


@pytest.mark.parametrize(
    ("path", "endpoint", "auth"),
    [
        ("/rooms/{room}", get_room, Auth.USER),
        ("/rooms", get_room, Auth.USER),
        ("/rooms/{roomId}", get_room, Auth.NONE),
        ("/rooms/{roomId}", get_public_room, Auth.USER),
        ("/rooms/{roomId}", untyped, Auth.NONE),
    ],
)
def test_a_route_that_does_not_fit_its_endpoint_is_refused(path, endpoint, auth):
    with pytest.raises(TypeError):
        Route("GET", path, endpoint, auth)
