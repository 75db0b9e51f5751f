"""Summaries of rooms: `room_summary.yaml`, and the paths that it had before it was specified."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomIdOrAlias, ServerName
from tim_server.web.published_room import SummarisedRoom, summarised_fields
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, UnsetType
from tim_server.web.route import Auth, Route

UNSTABLE = "im.nheko.summary."
"""What the keys began with that came with the proposal, MSC3266."""


class GetRoomSummaryRequest(RequestModel):
    """Which room, and servers to ask for one that this server is not in."""

    room_id_or_alias: InPath[RoomIdOrAlias]
    via: InQuery[tuple[ServerName, ...]] = ()


class GetRoomSummaryResponse(SummarisedRoom, kw_only=True):
    """The room, and the requester's membership."""

    membership: str


class GetUnstableRoomSummaryResponse(
    GetRoomSummaryResponse,
    kw_only=True,
    rename={"old_encryption": f"{UNSTABLE}encryption", "old_version": f"{UNSTABLE}room_version"},
):
    """The same, with the names that two keys had before they were specified beside those that they have now."""

    old_version: str | UnsetType = UNSET
    old_encryption: str | UnsetType = UNSET


async def get_room_summary(
    server: Homeserver, requester: Requester, request: GetRoomSummaryRequest
) -> GetRoomSummaryResponse:
    """`GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`: what a room is called and who may join it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
    """
    summary, membership = await server.room_summaries.of(requester, request.room_id_or_alias, request.via)
    return GetRoomSummaryResponse(**summarised_fields(summary), membership=membership)


async def get_unstable_room_summary(
    server: Homeserver, requester: Requester, request: GetRoomSummaryRequest
) -> GetUnstableRoomSummaryResponse:
    """`GET /_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}`: the summary for clients that know only
    the path, or the keys, that it had before it was specified.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
    """
    summary, membership = await server.room_summaries.of(requester, request.room_id_or_alias, request.via)
    fields = summarised_fields(summary)
    return GetUnstableRoomSummaryResponse(
        **fields, membership=membership, old_version=fields["room_version"], old_encryption=fields["encryption"]
    )


_UNSTABLE_PATH = "/_matrix/client/unstable/im.nheko.summary"

ROUTES = (
    Route("GET", "/_matrix/client/v1/room_summary/{roomIdOrAlias}", get_room_summary, auth=Auth.GUEST_OK),
    Route("GET", f"{_UNSTABLE_PATH}/summary/{{roomIdOrAlias}}", get_unstable_room_summary, auth=Auth.GUEST_OK),
    Route("GET", f"{_UNSTABLE_PATH}/rooms/{{roomIdOrAlias}}/summary", get_unstable_room_summary, auth=Auth.GUEST_OK),
)
