"""Files, in the form in which existing administration and moderation tools list, withdraw and delete them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tim_server.admin_api.media import NUMBER_MAX, MediumRequest, UserMediaRequest
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.media.delete import OldMedia
from tim_server.storage.media import Medium, UploadsRange
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import UNSET, EmptyResponse, ResponseModel, UnsetType
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


class ListUserMediaRequest(UserMediaRequest):
    """Whose files, and which page: `from` counts those that come before it."""

    start: InQuery[int] = Field(default=0, alias="from", ge=0, le=NUMBER_MAX)
    limit: InQuery[int] = Field(default=100, ge=1)
    dir: InQuery[Literal["b", "f"]] = "b"


class UserMediumBody(ResponseModel):
    """A file. `quarantined_by` tells that it is withdrawn, not by whom."""

    media_id: str
    media_type: str
    media_length: int
    upload_name: str | None
    created_ts: int
    last_access_ts: int
    quarantined_by: str | None
    safe_from_quarantine: bool
    user_id: str | None


class ListUserMediaResponse(ResponseModel):
    """A page of files; without `next_token` there are no more."""

    media: list[UserMediumBody]
    total: int
    next_token: int | UnsetType = UNSET


async def list_user_media(server: Homeserver, admin: Requester, request: ListUserMediaRequest) -> ListUserMediaResponse:
    """`GET /_synapse/admin/v1/users/{userId}/media`: what a user has uploaded, newest first unless `dir` is `f`."""
    within = UploadsRange(limit=request.limit, offset=request.start, newest_first=request.dir == "b")
    page = await server.media_moderation.uploads(admin, request.user_id, within)
    return ListUserMediaResponse(
        media=[_body(medium) for medium in page.media],
        total=page.total,
        next_token=request.start + len(page.media) if page.has_more else UNSET,
    )


class DeletedMediaResponse(ResponseModel):
    """Which files were deleted."""

    deleted_media: Sequence[str]
    total: int


async def delete_media(server: Homeserver, admin: Requester, request: MediumRequest) -> DeletedMediaResponse:
    """`DELETE /_synapse/admin/v1/media/{serverName}/{mediaId}`: delete a file."""
    await server.media_deletion.delete(admin, request.server_name, request.media_id)
    return DeletedMediaResponse(deleted_media=[request.media_id], total=1)


class DeleteUserMediaRequest(UserMediaRequest):
    """Whose files, and how many of them."""

    limit: InQuery[int] = Field(default=100, ge=1)


async def delete_user_media(
    server: Homeserver, admin: Requester, request: DeleteUserMediaRequest
) -> DeletedMediaResponse:
    """`DELETE /_synapse/admin/v1/users/{userId}/media`: delete what a user has uploaded, the oldest first."""
    deleted = await server.media_deletion.delete_of(admin, request.user_id, limit=request.limit)
    return DeletedMediaResponse(deleted_media=deleted.media_ids, total=len(deleted.media_ids))


class DeleteOldRequest(RequestModel):
    """Uploads that were last looked at before a time (milliseconds), and are larger than so many bytes."""

    before_ts: InQuery[int] = Field(ge=0, le=NUMBER_MAX)
    size_gt: InQuery[int] = Field(default=0, ge=0, lt=NUMBER_MAX)
    keep_profiles: InQuery[bool] = True


async def delete_old(server: Homeserver, admin: Requester, request: DeleteOldRequest) -> DeletedMediaResponse:
    """`POST /_synapse/admin/v1/media/delete`: delete uploads that nobody has looked at for long."""
    old = OldMedia(
        of="uploads",
        before_ts=request.before_ts,
        size_bytes_min=request.size_gt + 1 if request.size_gt else 0,
        with_avatars=not request.keep_profiles,
    )
    deleted = await server.media_deletion.delete_old(admin, old)
    return DeletedMediaResponse(deleted_media=deleted.media_ids, total=len(deleted.media_ids))


class PurgeMediaCacheRequest(RequestModel):
    """Copies of other servers' files that were last looked at before a time (milliseconds)."""

    before_ts: InQuery[int] = Field(ge=0, le=NUMBER_MAX)


class PurgeMediaCacheResponse(ResponseModel):
    """How many were deleted."""

    deleted: int


async def purge_media_cache(
    server: Homeserver, admin: Requester, request: PurgeMediaCacheRequest
) -> PurgeMediaCacheResponse:
    """`POST /_synapse/admin/v1/purge_media_cache`: delete copies that nobody has looked at for long."""
    old = OldMedia(of="copies", before_ts=request.before_ts)
    return PurgeMediaCacheResponse(deleted=len((await server.media_deletion.delete_old(admin, old)).media_ids))


def _body(medium: Medium) -> UserMediumBody:
    return UserMediumBody(
        media_id=medium.media_id,
        media_type=medium.content_type,
        media_length=medium.size_bytes,
        upload_name=medium.file_name,
        created_ts=medium.created_ts,
        last_access_ts=medium.last_access_ts,
        quarantined_by="an administrator" if medium.is_quarantined else None,
        safe_from_quarantine=False,
        user_id=medium.user_id,
    )


_PATH = "/_synapse/admin/v1"

ROUTES = (
    Route("POST", _PATH + "/media/quarantine/{serverName}/{mediaId}", quarantine, auth=Auth.ADMIN),
    Route("POST", _PATH + "/media/unquarantine/{serverName}/{mediaId}", unquarantine, auth=Auth.ADMIN),
    Route("POST", _PATH + "/user/{userId}/media/quarantine", quarantine_user, auth=Auth.ADMIN),
    Route("GET", _PATH + "/users/{userId}/media", list_user_media, auth=Auth.ADMIN),
    Route("DELETE", _PATH + "/users/{userId}/media", delete_user_media, auth=Auth.ADMIN),
    Route("DELETE", _PATH + "/media/{serverName}/{mediaId}", delete_media, auth=Auth.ADMIN),
    Route("POST", _PATH + "/media/delete", delete_old, auth=Auth.ADMIN),
    Route("POST", _PATH + "/purge_media_cache", purge_media_cache, auth=Auth.ADMIN),
)
