"""Upgrading rooms: `room_upgrades.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Route


class UpgradeRoomRequest(RequestModel):
    """Which room, and what its replacement is to be."""

    room_id: InPath[RoomId]
    new_version: str
    additional_creators: tuple[UserId, ...] = ()


class UpgradeRoomResponse(ResponseModel):
    """The room that replaces it."""

    replacement_room: str


async def upgrade_room(server: Homeserver, requester: Requester, request: UpgradeRoomRequest) -> UpgradeRoomResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/upgrade`: replace a room by one of another version, all at once.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade
    """
    replacement = await server.room_upgrade.upgrade(
        requester, request.room_id, request.new_version, request.additional_creators
    )
    return UpgradeRoomResponse(replacement_room=replacement)


ROUTES = (Route("POST", "/_matrix/client/v3/rooms/{roomId}/upgrade", upgrade_room, rate_limit="create_room"),)
