"""A room's snapshot, also for those who look into it: `room_initial_sync.yaml`."""

from pydantic import Field

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.sync.initial_sync import LIMIT_DEFAULT
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class RoomInitialSyncRequest(RequestModel):
    """Which room, and how many of its messages."""

    room_id: InPath[RoomId]
    limit: InQuery[int] = Field(default=LIMIT_DEFAULT, ge=0)


async def room_initial_sync(server: Homeserver, requester: Requester, request: RoomInitialSyncRequest) -> RawJson:
    """`GET /_matrix/client/v3/rooms/{roomId}/initialSync`: a room's state and newest messages, for members, those who
    were, and whoever may look into it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidinitialsync
    """
    found = await server.initial_sync.of_room(requester, request.room_id, limit=request.limit)
    return RawJson(encode_relaxed(found))


ROUTES = (
    Route(
        "GET",
        "/_matrix/client/v3/rooms/{roomId}/initialSync",
        room_initial_sync,
        auth=Auth.GUEST_OK,
        rate_limit="initial_sync",
    ),
)
