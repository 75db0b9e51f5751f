"""Deletion of files: one, those of a user, or old ones."""

from typing import Literal

from pydantic import Field

from tim_server.admin_api.media import NUMBER_MAX, MediumRequest, UserMediaRequest
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.media.delete import Deleted, OldMedia
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import EmptyResponse, ResponseModel
from tim_server.web.route import Auth, Route


async def delete_medium(server: Homeserver, admin: Requester, request: MediumRequest) -> EmptyResponse:
    """`DELETE /_tim-server/admin/v1/media/{serverName}/{mediaId}`: delete a file. Written to the audit log."""
    await server.media_deletion.delete(admin, request.server_name, request.media_id)
    return EmptyResponse()


class DeletedResponse(ResponseModel):
    """How many files were deleted; with `has_more` ask once more, as there is a limit to one request."""

    deleted: int
    has_more: bool


async def delete_uploads(server: Homeserver, admin: Requester, request: UserMediaRequest) -> DeletedResponse:
    """`DELETE /_tim-server/admin/v1/users/{userId}/media`: delete all that a user has uploaded. Written to the audit
    log."""
    return _deleted_body(await server.media_deletion.delete_of(admin, request.user_id))


class DeleteOldMediaRequest(RequestModel):
    """Which files: uploads or copies of other servers' files that were last looked at before a time (milliseconds). Of
    uploads only large ones may be meant; avatars stay unless `with_avatars`."""

    of: Literal["uploads", "copies"]
    before_ts: int = Field(ge=0, le=NUMBER_MAX)
    size_bytes_min: int = Field(default=0, ge=0, le=NUMBER_MAX)
    with_avatars: bool = False


async def delete_old_media(server: Homeserver, admin: Requester, request: DeleteOldMediaRequest) -> DeletedResponse:
    """`POST /_tim-server/admin/v1/media/delete_old`: delete what nobody has looked at for long. Written to the audit
    log."""
    old = OldMedia(
        of=request.of,
        before_ts=request.before_ts,
        size_bytes_min=request.size_bytes_min,
        with_avatars=request.with_avatars,
    )
    return _deleted_body(await server.media_deletion.delete_old(admin, old))


def _deleted_body(deleted: Deleted) -> DeletedResponse:
    return DeletedResponse(deleted=len(deleted.media_ids), has_more=deleted.has_more)


_PATH = "/_tim-server/admin/v1"

ROUTES = (
    Route("DELETE", _PATH + "/media/{serverName}/{mediaId}", delete_medium, auth=Auth.ADMIN),
    Route("DELETE", _PATH + "/users/{userId}/media", delete_uploads, auth=Auth.ADMIN),
    Route("POST", _PATH + "/media/delete_old", delete_old_media, auth=Auth.ADMIN),
)
