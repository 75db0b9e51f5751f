"""Reading events, state and members: `rooms.yaml`."""

from typing import Literal

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.members import MembersQuery
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Auth, Route

Membership = Literal["join", "invite", "knock", "leave", "ban"]


class GetOneRoomEventRequest(RequestModel):
    """Which event."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]


async def get_one_room_event(server: Homeserver, requester: Requester, request: GetOneRoomEventRequest) -> RawJson:
    """`GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`: one event that the user may see.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid
    """
    return RawJson(await server.room_event.read(requester, request.room_id, request.event_id))


class GetRoomStateWithKeyRequest(RequestModel):
    """Which state, as its content or as the whole event."""

    room_id: InPath[RoomId]
    event_type: InPath[str]
    state_key: InPath[str] = ""
    format: InQuery[Literal["content", "event"]] = "content"


async def get_room_state_with_key(
    server: Homeserver, requester: Requester, request: GetRoomStateWithKeyRequest
) -> RawJson:
    """`GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`: one state event, now or when the user left.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey
    """
    key = (request.event_type, request.state_key)
    if request.format == "event":
        return RawJson(await server.room_state.event(requester, request.room_id, key))
    return RawJson(await server.room_state.content(requester, request.room_id, key))


class GetRoomStateRequest(RequestModel):
    """Which room."""

    room_id: InPath[RoomId]


async def get_room_state(server: Homeserver, requester: Requester, request: GetRoomStateRequest) -> RawJson:
    """`GET /_matrix/client/v3/rooms/{roomId}/state`: all state events, now or when the user left.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate
    """
    events = await server.room_state.all_events(requester, request.room_id)
    return RawJson(b"[" + b",".join(events) + b"]")


class GetMembersByRoomRequest(RequestModel):
    """Which members of which room."""

    room_id: InPath[RoomId]
    at: InQuery[str | None] = None
    membership: InQuery[Membership | None] = None
    not_membership: InQuery[Membership | None] = None


class GetMembersByRoomResponse(ResponseModel):
    """Member events."""

    chunk: list[RawJson]


async def get_members_by_room(
    server: Homeserver, requester: Requester, request: GetMembersByRoomRequest
) -> GetMembersByRoomResponse:
    """`GET /_matrix/client/v3/rooms/{roomId}/members`: member events, now, at a token, or when the user left.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers
    """
    query = MembersQuery(at=request.at, membership=request.membership, not_membership=request.not_membership)
    events = await server.room_members.events(requester, request.room_id, query)
    return GetMembersByRoomResponse(chunk=[RawJson(event) for event in events])


class GetJoinedMembersByRoomRequest(RequestModel):
    """Which room."""

    room_id: InPath[RoomId]


class GetJoinedMembersByRoomResponse(ResponseModel):
    """Members by user id, with names and avatars as far as the member events tell."""

    joined: RawJson


async def get_joined_members_by_room(
    server: Homeserver, requester: Requester, request: GetJoinedMembersByRoomRequest
) -> GetJoinedMembersByRoomResponse:
    """`GET /_matrix/client/v3/rooms/{roomId}/joined_members`: who is joined, with names and avatars.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members
    """
    return GetJoinedMembersByRoomResponse(joined=RawJson(await server.room_members.joined(requester, request.room_id)))


ROUTES = (
    Route("GET", "/_matrix/client/v3/rooms/{roomId}/event/{eventId}", get_one_room_event, auth=Auth.GUEST_OK),
    Route(
        "GET",
        "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}",
        get_room_state_with_key,
        auth=Auth.GUEST_OK,
    ),
    Route("GET", "/_matrix/client/v3/rooms/{roomId}/state", get_room_state, auth=Auth.GUEST_OK),
    Route("GET", "/_matrix/client/v3/rooms/{roomId}/members", get_members_by_room, auth=Auth.GUEST_OK),
    Route("GET", "/_matrix/client/v3/rooms/{roomId}/joined_members", get_joined_members_by_room, auth=Auth.GUEST_OK),
)
