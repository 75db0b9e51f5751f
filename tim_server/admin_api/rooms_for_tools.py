"""Deletion of rooms, in the form in which existing administration tools ask for it."""

from collections.abc import Sequence
from typing import Any

from tim_server.matrix.errors import InvalidParam, NotFound
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.deletion.request import DeletionWishes
from tim_server.storage.room_deletions import Deletion
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import UNSET, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route

_STATUSES = {"leaving": "shutting_down", "telling": "shutting_down", "purging": "purging", "sifting": "purging"}


class DeleteRoomRequest(RequestModel):
    """Which room, and what becomes of it. `force_purge` changes nothing: members who can't leave keep no room here. A
    new room that the members would be brought to is refused, with its name and message."""

    room_id: InPath[RoomId]
    block: bool = False
    purge: bool = True
    force_purge: bool = False
    new_room_user_id: Any = None
    room_name: Any = None
    message: Any = None


class DeleteRoomResponse(ResponseModel):
    """The id by which one asks how far the deletion is."""

    delete_id: str


async def delete_room(server: Homeserver, admin: Requester, request: DeleteRoomRequest) -> DeleteRoomResponse:
    """`DELETE /_synapse/admin/v2/rooms/{roomId}`: have a room deleted, in the background."""
    if request.new_room_user_id is not None or request.room_name is not None or request.message is not None:
        raise InvalidParam("This server makes no new room for the members: leave out new_room_user_id and its like")
    wishes = DeletionWishes(blocks=request.block, purges=request.purge)
    return DeleteRoomResponse(delete_id=await server.room_deletion.begin(admin, request.room_id, wishes))


class ShutDownBody(ResponseModel):
    """Who has left, at most 1,000 of them, and which aliases the room had."""

    kicked_users: Sequence[str]
    failed_to_kick_users: Sequence[str]
    local_aliases: Sequence[str]
    new_room_id: str | None


class DeleteStatusBody(ResponseModel):
    """A deletion: `status` is `shutting_down`, `purging` or `complete`. `room_id` stands where one asks by the id of
    the deletion."""

    delete_id: str
    status: str
    shutdown_room: ShutDownBody
    room_id: str | UnsetType = UNSET


class RoomDeleteStatusRequest(RequestModel):
    """Which room."""

    room_id: InPath[RoomId]


class RoomDeleteStatusResponse(ResponseModel):
    """The deletions of a room, newest first."""

    results: list[DeleteStatusBody]


async def room_delete_status(
    server: Homeserver, admin: Requester, request: RoomDeleteStatusRequest
) -> RoomDeleteStatusResponse:
    """`GET /_synapse/admin/v2/rooms/{roomId}/delete_status`: how far the deletions of a room are."""
    found, _ = await server.room_deletion.page(request.room_id, before=None, limit=100)
    if not found:
        raise NotFound("The room has not been deleted")
    return RoomDeleteStatusResponse(results=[_body(each) for each in found])


class DeleteStatusRequest(RequestModel):
    """Which deletion."""

    delete_id: InPath[str]


async def delete_status(server: Homeserver, admin: Requester, request: DeleteStatusRequest) -> DeleteStatusBody:
    """`GET /_synapse/admin/v2/rooms/delete_status/{deleteId}`: how far a deletion is."""
    deletion = await server.room_deletion.find(request.delete_id)
    return _body(deletion, room_id=deletion.room_id)


class BlockRoomRequest(RequestModel):
    """Which room, and whether it is to be blocked."""

    room_id: InPath[RoomId]
    block: bool


class BlockRoomResponse(ResponseModel):
    """Whether the room is blocked now."""

    block: bool


async def block_room(server: Homeserver, admin: Requester, request: BlockRoomRequest) -> BlockRoomResponse:
    """`PUT /_synapse/admin/v1/rooms/{roomId}/block`: let nobody of this server into a room, or let them in again."""
    if request.block:
        await server.room_deletion.block(admin, request.room_id)
    else:
        await server.room_deletion.unblock(admin, request.room_id)
    return BlockRoomResponse(block=request.block)


class GetBlockRequest(RequestModel):
    """Which room."""

    room_id: InPath[RoomId]


class GetBlockResponse(ResponseModel):
    """Whether the room is blocked, and by whom."""

    block: bool
    user_id: str | UnsetType = UNSET


async def get_block(server: Homeserver, admin: Requester, request: GetBlockRequest) -> GetBlockResponse:
    """`GET /_synapse/admin/v1/rooms/{roomId}/block`: whether a room is blocked."""
    found = await server.room_deletion.find_block(request.room_id)
    return GetBlockResponse(block=found is not None, user_id=UNSET if found is None else found.blocked_by)


def _body(deletion: Deletion, *, room_id: str | UnsetType = UNSET) -> DeleteStatusBody:
    return DeleteStatusBody(
        delete_id=deletion.delete_id,
        status=_STATUSES.get(deletion.status, deletion.status),
        shutdown_room=ShutDownBody(
            kicked_users=deletion.left_users,
            failed_to_kick_users=[],
            local_aliases=deletion.aliases,
            new_room_id=None,
        ),
        room_id=room_id,
    )


_PATH = "/_synapse/admin"

ROUTES = (
    Route("DELETE", _PATH + "/v2/rooms/{roomId}", delete_room, auth=Auth.ADMIN),
    Route("GET", _PATH + "/v2/rooms/{roomId}/delete_status", room_delete_status, auth=Auth.ADMIN),
    Route("GET", _PATH + "/v2/rooms/delete_status/{deleteId}", delete_status, auth=Auth.ADMIN),
    Route("GET", _PATH + "/v1/rooms/{roomId}/block", get_block, auth=Auth.ADMIN),
    Route("PUT", _PATH + "/v1/rooms/{roomId}/block", block_room, auth=Auth.ADMIN),
)
