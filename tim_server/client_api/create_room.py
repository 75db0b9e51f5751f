"""Creating rooms: `create_room.yaml`."""

from typing import Any, Literal

from pydantic import Field

from tim_server.client_api.third_party_membership import Invite3pid
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.create import RoomOptions
from tim_server.services.rooms.new_room_state import InitialState, Preset
from tim_server.web.fields import UserId
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Route


class StateEvent(RequestModel):
    """A state event to begin with."""

    type: str
    content: dict[str, Any]
    state_key: str = ""


class CreateRoomRequest(RequestModel):
    """The desired room."""

    visibility: Literal["public", "private"] = "private"
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: tuple[UserId, ...] = ()
    invite_3pid: tuple[Invite3pid, ...] = ()
    room_version: str | None = None
    creation_content: dict[str, Any] = Field(default_factory=dict)
    initial_state: tuple[StateEvent, ...] = ()
    preset: Preset | None = None
    is_direct: bool = False
    power_level_content_override: dict[str, Any] = Field(default_factory=dict)


class CreateRoomResponse(ResponseModel):
    """The created room."""

    room_id: str


async def create_room(server: Homeserver, requester: Requester, request: CreateRoomRequest) -> CreateRoomResponse:
    """`POST /_matrix/client/v3/createRoom`: a room with all its first events, or none at all.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom
    """
    options = RoomOptions(
        is_public=request.visibility == "public",
        preset=request.preset,
        room_version=request.room_version,
        room_alias_name=request.room_alias_name,
        name=request.name,
        topic=request.topic,
        invite=request.invite,
        invited_addresses=tuple(each.invited for each in request.invite_3pid),
        is_direct=request.is_direct,
        creation_content=request.creation_content,
        initial_state=tuple(
            InitialState(type=event.type, state_key=event.state_key, content=event.content)
            for event in request.initial_state
        ),
        power_level_content_override=request.power_level_content_override,
    )
    return CreateRoomResponse(room_id=await server.room_creation.create(requester, options))


ROUTES = (Route("POST", "/_matrix/client/v3/createRoom", create_room, rate_limit="create_room"),)
