"""Files: what administrators see of them, withdraw and release."""

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.media.moderate import KnownMedium
from tim_server.storage.media import Medium, UploadsRange
from tim_server.storage.quarantined_media import Quarantine
from tim_server.web.fields import MediaId, ServerName, UserId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, EmptyResponse, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route

NUMBER_MAX = 2**63 - 1


class MediumRequest(RequestModel):
    """Which file."""

    server_name: InPath[ServerName]
    media_id: InPath[MediaId]


class QuarantineBody(ResponseModel):
    """A file that is withdrawn: since when (milliseconds), by which administrator, or because of malware."""

    server_name: str
    media_id: str
    cause: str
    decided_by: str | None
    created_ts: int


class MediumBody(ResponseModel):
    """A file that is here. `user_id` is who uploaded it, null for a copy of another server's; times are in
    milliseconds, that of the last look to the day."""

    server_name: str
    media_id: str
    user_id: str | None
    content_type: str
    file_name: str | None
    size_bytes: int
    created_ts: int
    last_access_ts: int
    is_quarantined: bool


class GetMediumResponse(ResponseModel):
    """What is known of a file: null where it is not here, and where it is not withdrawn."""

    medium: MediumBody | None
    quarantine: QuarantineBody | None


async def get_medium(server: Homeserver, admin: Requester, request: MediumRequest) -> GetMediumResponse:
    """`GET /_tim-server/admin/v1/media/{serverName}/{mediaId}`: what is known of a file. Written to the audit log."""
    return _known_body(await server.media_moderation.read(admin, request.server_name, request.media_id))


async def quarantine_medium(server: Homeserver, admin: Requester, request: MediumRequest) -> EmptyResponse:
    """`PUT /_tim-server/admin/v1/media/{serverName}/{mediaId}/quarantine`: withdraw a file, and all of the same bytes.

    Nobody is given it any more, and one of another server is not fetched. Written to the audit log.
    """
    await server.media_moderation.quarantine(admin, request.server_name, request.media_id)
    return EmptyResponse()


async def release_medium(server: Homeserver, admin: Requester, request: MediumRequest) -> EmptyResponse:
    """`DELETE /_tim-server/admin/v1/media/{serverName}/{mediaId}/quarantine`: have a file given out again. Written to
    the audit log."""
    await server.media_moderation.release(admin, request.server_name, request.media_id)
    return EmptyResponse()


class ListQuarantinedRequest(RequestModel):
    """Which page; `from` is `next_batch` of the page before."""

    start: InQuery[int | None] = Field(default=None, alias="from", ge=0, le=NUMBER_MAX)
    limit: InQuery[int] = Field(default=100, ge=1)


class ListQuarantinedResponse(ResponseModel):
    """Files that are withdrawn, newest first; without `next_batch` there are no more behind them."""

    quarantined: list[QuarantineBody]
    next_batch: int | UnsetType = UNSET


async def list_quarantined(
    server: Homeserver, admin: Requester, request: ListQuarantinedRequest
) -> ListQuarantinedResponse:
    """`GET /_tim-server/admin/v1/quarantined_media`: what is withdrawn."""
    page, has_more = await server.media_moderation.quarantined(admin, before=request.start, limit=request.limit)
    return ListQuarantinedResponse(
        quarantined=[_quarantine_body(each) for each in page], next_batch=page[-1].nid if has_more else UNSET
    )


class UserMediaRequest(RequestModel):
    """Whose files."""

    user_id: InPath[UserId]


class QuarantineOfUserResponse(ResponseModel):
    """How many files were not withdrawn before."""

    quarantined: int


async def quarantine_of_user(
    server: Homeserver, admin: Requester, request: UserMediaRequest
) -> QuarantineOfUserResponse:
    """`PUT /_tim-server/admin/v1/users/{userId}/media/quarantine`: withdraw all that a user has uploaded until now.
    Written to the audit log."""
    return QuarantineOfUserResponse(quarantined=await server.media_moderation.quarantine_of(admin, request.user_id))


class ListUploadsRequest(UserMediaRequest):
    """Whose files, and which page: `from` counts those that come before it."""

    start: InQuery[int] = Field(default=0, alias="from", ge=0, le=NUMBER_MAX)
    limit: InQuery[int] = Field(default=100, ge=1)


class ListUploadsResponse(ResponseModel):
    """Files, newest first, and how many there are; without `next_batch` there are no more behind them."""

    media: list[MediumBody]
    total: int
    next_batch: int | UnsetType = UNSET


async def list_uploads(server: Homeserver, admin: Requester, request: ListUploadsRequest) -> ListUploadsResponse:
    """`GET /_tim-server/admin/v1/users/{userId}/media`: what a user has uploaded. Written to the audit log."""
    within = UploadsRange(limit=request.limit, offset=request.start)
    page = await server.media_moderation.uploads(admin, request.user_id, within)
    return ListUploadsResponse(
        media=[_medium_body(medium) for medium in page.media],
        total=page.total,
        next_batch=request.start + len(page.media) if page.has_more else UNSET,
    )


def _known_body(known: KnownMedium) -> GetMediumResponse:
    return GetMediumResponse(
        medium=None if known.medium is None else _medium_body(known.medium),
        quarantine=None if known.quarantine is None else _quarantine_body(known.quarantine),
    )


def _medium_body(medium: Medium) -> MediumBody:
    return MediumBody(
        server_name=medium.server_name,
        media_id=medium.media_id,
        user_id=medium.user_id,
        content_type=medium.content_type,
        file_name=medium.file_name,
        size_bytes=medium.size_bytes,
        created_ts=medium.created_ts,
        last_access_ts=medium.last_access_ts,
        is_quarantined=medium.is_quarantined,
    )


def _quarantine_body(quarantine: Quarantine) -> QuarantineBody:
    return QuarantineBody(
        server_name=quarantine.server_name,
        media_id=quarantine.media_id,
        cause=quarantine.cause,
        decided_by=quarantine.decided_by,
        created_ts=quarantine.created_ts,
    )


_PATH = "/_tim-server/admin/v1/media/{serverName}/{mediaId}"

ROUTES = (
    Route("GET", _PATH, get_medium, auth=Auth.ADMIN),
    Route("PUT", _PATH + "/quarantine", quarantine_medium, auth=Auth.ADMIN),
    Route("DELETE", _PATH + "/quarantine", release_medium, auth=Auth.ADMIN),
    Route("GET", "/_tim-server/admin/v1/quarantined_media", list_quarantined, auth=Auth.ADMIN),
    Route("GET", "/_tim-server/admin/v1/users/{userId}/media", list_uploads, auth=Auth.ADMIN),
    Route("PUT", "/_tim-server/admin/v1/users/{userId}/media/quarantine", quarantine_of_user, auth=Auth.ADMIN),
)
