"""Withdrawing of files, in the form in which existing moderation tools ask for it."""

from tim_server.admin_api.media import MediumRequest, UserMediaRequest
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.response_model import EmptyResponse, ResponseModel
from tim_server.web.route import Auth, Route


async def quarantine(server: Homeserver, admin: Requester, request: MediumRequest) -> EmptyResponse:
    """`POST /_synapse/admin/v1/media/quarantine/{serverName}/{mediaId}`: withdraw a file, and all of the same bytes."""
    await server.media_moderation.quarantine(admin, request.server_name, request.media_id)
    return EmptyResponse()


async def unquarantine(server: Homeserver, admin: Requester, request: MediumRequest) -> EmptyResponse:
    """`POST /_synapse/admin/v1/media/unquarantine/{serverName}/{mediaId}`: have a file given out again."""
    await server.media_moderation.release(admin, request.server_name, request.media_id)
    return EmptyResponse()


class QuarantineUserResponse(ResponseModel):
    """How many files were not withdrawn before."""

    num_quarantined: int


async def quarantine_user(server: Homeserver, admin: Requester, request: UserMediaRequest) -> QuarantineUserResponse:
    """`POST /_synapse/admin/v1/user/{userId}/media/quarantine`: withdraw all that a user has uploaded until now."""
    return QuarantineUserResponse(num_quarantined=await server.media_moderation.quarantine_of(admin, request.user_id))


_PATH = "/_synapse/admin/v1"

ROUTES = (
    Route("POST", _PATH + "/media/quarantine/{serverName}/{mediaId}", quarantine, auth=Auth.ADMIN),
    Route("POST", _PATH + "/media/unquarantine/{serverName}/{mediaId}", unquarantine, auth=Auth.ADMIN),
    Route("POST", _PATH + "/user/{userId}/media/quarantine", quarantine_user, auth=Auth.ADMIN),
)
