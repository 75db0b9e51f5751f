"""Deletion of rooms, and rooms that nobody of this server may come into."""

from collections.abc import Sequence

from pydantic import Field

from tim_server.admin_api.media import NUMBER_MAX
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.deletion.request import DeletionWishes
from tim_server.storage.room_deletions import Deletion
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, EmptyResponse, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class DeleteRoomRequest(RequestModel):
    """Which room; whether it is also blocked, and whether what is stored of it is removed, with the files
    that nothing else refers to, unless `keep_files`."""

    room_id: InPath[RoomId]
    block: bool = False
    purge: bool = True
    keep_files: bool = False


class DeleteRoomResponse(ResponseModel):
    """The id by which one asks how far the deletion is."""

    delete_id: str


async def delete_room(server: Homeserver, admin: Requester, request: DeleteRoomRequest) -> DeleteRoomResponse:
    """`DELETE /_tim-server/admin/v1/rooms/{roomId}`: have a room deleted; this goes on in the background. Written to
    the audit log.

    From now on the room takes nothing but that its members leave. A room that is unknown here can be blocked.
    """
    wishes = DeletionWishes(blocks=request.block, purges=request.purge, keeps_files=request.keep_files)
    return DeleteRoomResponse(delete_id=await server.room_deletion.begin(admin, request.room_id, wishes))


class GetRoomDeletionRequest(RequestModel):
    """Which deletion."""

    delete_id: InPath[str]


class RoomDeletionBody(ResponseModel):
    """A deletion. `status` is `leaving`, `telling`, `purging`, `sifting` or `complete`; `left_users` are the first
    1,000 of `left_count`; `sifted_events` is how many events were looked through for what refers to the room's files;
    times are in milliseconds. `problem` is why the last attempt at a step failed, while it did."""

    delete_id: str
    room_id: str
    status: str
    purge: bool
    requested_by: str
    requested_ts: int
    finished_ts: int | None
    problem: str | None
    left_users: Sequence[str]
    left_count: int
    aliases: Sequence[str]
    events_deleted: int
    files_deleted: int
    sifted_events: int


async def get_room_deletion(server: Homeserver, admin: Requester, request: GetRoomDeletionRequest) -> RoomDeletionBody:
    """`GET /_tim-server/admin/v1/room_deletions/{deleteId}`: how far a deletion is."""
    return _body(await server.room_deletion.find(request.delete_id))


class ListRoomDeletionsRequest(RequestModel):
    """Of which room, if not of all; `from` is `next_batch` of the page before."""

    room_id: InQuery[RoomId | None] = None
    start: InQuery[int | None] = Field(default=None, alias="from", ge=0, le=NUMBER_MAX)
    limit: InQuery[int] = Field(default=100, ge=1)


class ListRoomDeletionsResponse(ResponseModel):
    """Deletions of the last month, newest first; without `next_batch` there are no more behind them."""

    deletions: list[RoomDeletionBody]
    next_batch: int | UnsetType = UNSET


async def list_room_deletions(
    server: Homeserver, admin: Requester, request: ListRoomDeletionsRequest
) -> ListRoomDeletionsResponse:
    """`GET /_tim-server/admin/v1/room_deletions`: the deletions of rooms."""
    page, has_more = await server.room_deletion.page(request.room_id, before=request.start, limit=request.limit)
    return ListRoomDeletionsResponse(
        deletions=[_body(each) for each in page], next_batch=page[-1].nid if has_more else UNSET
    )


class RoomBlockRequest(RequestModel):
    """Which room."""

    room_id: InPath[RoomId]


class RoomBlockResponse(ResponseModel):
    """Whether the room is blocked, by whom and since when (milliseconds)."""

    blocked: bool
    blocked_by: str | None
    blocked_ts: int | None


async def get_room_block(server: Homeserver, admin: Requester, request: RoomBlockRequest) -> RoomBlockResponse:
    """`GET /_tim-server/admin/v1/rooms/{roomId}/block`: whether users of this server may come into a room."""
    block = await server.room_deletion.find_block(request.room_id)
    return RoomBlockResponse(
        blocked=block is not None,
        blocked_by=None if block is None else block.blocked_by,
        blocked_ts=None if block is None else block.blocked_ts,
    )


async def block_room(server: Homeserver, admin: Requester, request: RoomBlockRequest) -> EmptyResponse:
    """`PUT /_tim-server/admin/v1/rooms/{roomId}/block`: let nobody of this server into a room, which need not be known
    here; who is in it stays. Written to the audit log."""
    await server.room_deletion.block(admin, request.room_id)
    return EmptyResponse()


async def unblock_room(server: Homeserver, admin: Requester, request: RoomBlockRequest) -> EmptyResponse:
    """`DELETE /_tim-server/admin/v1/rooms/{roomId}/block`: let users into the room again. Written to the audit log."""
    await server.room_deletion.unblock(admin, request.room_id)
    return EmptyResponse()


def _body(deletion: Deletion) -> RoomDeletionBody:
    return RoomDeletionBody(
        delete_id=deletion.delete_id,
        room_id=deletion.room_id,
        status=deletion.status,
        purge=deletion.purges,
        requested_by=deletion.requested_by,
        requested_ts=deletion.requested_ts,
        finished_ts=deletion.finished_ts,
        problem=deletion.problem,
        left_users=deletion.left_users,
        left_count=deletion.left_count,
        aliases=deletion.aliases,
        events_deleted=deletion.events_deleted,
        files_deleted=deletion.files_deleted,
        sifted_events=deletion.sifted_events,
    )


_PATH = "/_tim-server/admin/v1"

ROUTES = (
    Route("DELETE", _PATH + "/rooms/{roomId}", delete_room, auth=Auth.ADMIN),
    Route("GET", _PATH + "/rooms/{roomId}/block", get_room_block, auth=Auth.ADMIN),
    Route("PUT", _PATH + "/rooms/{roomId}/block", block_room, auth=Auth.ADMIN),
    Route("DELETE", _PATH + "/rooms/{roomId}/block", unblock_room, auth=Auth.ADMIN),
    Route("GET", _PATH + "/room_deletions", list_room_deletions, auth=Auth.ADMIN),
    Route("GET", _PATH + "/room_deletions/{deleteId}", get_room_deletion, auth=Auth.ADMIN),
)
