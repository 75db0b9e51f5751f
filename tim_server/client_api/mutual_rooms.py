"""Rooms that two users share: `mutual_rooms.yaml`."""

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import UserId
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import UNSET, ResponseModel, UnsetType
from tim_server.web.route import Route


class GetMutualRoomsRequest(RequestModel):
    """With whom."""

    user_id: InQuery[UserId]
    start: InQuery[str | None] = Field(default=None, alias="from")


class GetMutualRoomsResponse(ResponseModel):
    """Some of the rooms, and how many there are."""

    joined: list[str]
    count: int
    next_batch: str | UnsetType = UNSET


async def get_mutual_rooms(
    server: Homeserver, requester: Requester, request: GetMutualRoomsRequest
) -> GetMutualRoomsResponse:
    """`GET /_matrix/client/v1/mutual_rooms`: the rooms that the user shares with another.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms
    """
    page = await server.mutual_rooms.with_user(requester, request.user_id, request.start)
    return GetMutualRoomsResponse(joined=[*page.joined], count=page.count, next_batch=page.next_batch or UNSET)


ROUTES = (Route("GET", "/_matrix/client/v1/mutual_rooms", get_mutual_rooms),)
