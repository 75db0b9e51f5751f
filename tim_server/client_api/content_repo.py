"""Uploads, and the deprecated endpoints of files: `content-repo.yaml`."""

from typing import Any

from pydantic import Field

from tim_server.client_api.authed_content_repo import (
    ConfigResponse,
    GetConfigRequest,
    GetContentRequest,
    GetUrlPreviewRequest,
    get_config_authed,
    get_url_preview_authed,
)
from tim_server.matrix.content_disposition import clean_file_name
from tim_server.matrix.errors import NotFound, Unrecognized
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.media.upload import SentFile
from tim_server.storage.media import Medium
from tim_server.web.context import current_request
from tim_server.web.fields import MediaId, ServerName
from tim_server.web.media import ThumbnailRequest, file_response, thumbnail_response
from tim_server.web.rate_limits import address_key
from tim_server.web.read_body import BodyStream
from tim_server.web.request_model import InPath, InQuery, RequestModel, StreamedBody
from tim_server.web.response_model import EmptyResponse, RawJson, ResponseModel, StreamedBinary
from tim_server.web.route import Auth, Route


class UploadContentRequest(RequestModel):
    """The bytes, and what the file is called."""

    file_name: InQuery[str | None] = Field(default=None, alias="filename")
    body: StreamedBody[BodyStream]

    @property
    def file(self) -> SentFile:
        """The file as it is sent."""
        return SentFile(
            pieces=aiter(self.body),
            length_bytes=self.body.length_bytes,
            content_type=self.body.content_type,
            file_name=self.file_name,
        )


class UploadContentResponse(ResponseModel):
    """The `mxc://` URI of the file."""

    content_uri: str


def _upload_bytes_max(server: Homeserver) -> int:
    return server.media_upload.policy.upload_bytes_max


async def upload_content(
    server: Homeserver, requester: Requester, request: UploadContentRequest
) -> UploadContentResponse:
    """`POST /_matrix/media/v3/upload`: store a file, however large within the limit, as it arrives.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload
    """
    return UploadContentResponse(content_uri=await server.media_upload.upload(requester, request.file))


class CreateContentRequest(RequestModel):
    """Nothing beside the requester."""


class CreateContentResponse(ResponseModel):
    """The `mxc://` URI of a file that is still to come, and until when."""

    content_uri: str
    unused_expires_at: int


async def create_content(
    server: Homeserver, requester: Requester, request: CreateContentRequest
) -> CreateContentResponse:
    """`POST /_matrix/media/v1/create`: an address for a file that is uploaded later.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create
    """
    announced = await server.media_announcement.announce(requester)
    return CreateContentResponse(
        content_uri=f"mxc://{server.server_name}/{announced.media_id}", unused_expires_at=announced.expires_ts
    )


class UploadContentToMxcRequest(UploadContentRequest):
    """The bytes, what the file is called, and its address."""

    server_name: InPath[ServerName]
    media_id: InPath[MediaId]


async def upload_content_to_mxc(
    server: Homeserver, requester: Requester, request: UploadContentToMxcRequest
) -> EmptyResponse:
    """`PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`: store a file at an address that was created before.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid
    """
    await server.media_upload.upload_announced(requester, request.server_name, request.media_id, request.file)
    return EmptyResponse()


class GetDeprecatedContentRequest(GetContentRequest):
    """Which file, and whether it may be fetched from another server."""

    allow_remote: InQuery[bool] = True


class GetDeprecatedContentOverrideNameRequest(GetDeprecatedContentRequest):
    """Which file, and what it is to be called."""

    file_name: InPath[str]


async def get_content(server: Homeserver, request: GetDeprecatedContentRequest) -> Any:
    """`GET /_matrix/media/v3/download/{serverName}/{mediaId}`: deprecated; the bytes of a file for whoever knows its
    address, where the configuration says so.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3downloadservernamemediaid
    """
    medium = await _find(server, request)
    return await file_response(
        server.media_download, medium, request, file_name=medium.file_name, asked_by=_asking_address()
    )


async def get_content_override_name(server: Homeserver, request: GetDeprecatedContentOverrideNameRequest) -> Any:
    """`GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}`: deprecated; the same under another name.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3downloadservernamemediaidfilename
    """
    medium = await _find(server, request)
    return await file_response(
        server.media_download, medium, request, file_name=clean_file_name(request.file_name), asked_by=_asking_address()
    )


class GetDeprecatedThumbnailRequest(ThumbnailRequest):
    """Of which image, how large, and whether it may be fetched from another server."""

    server_name: InPath[ServerName]
    media_id: InPath[MediaId]
    allow_remote: InQuery[bool] = True


async def get_content_thumbnail(server: Homeserver, request: GetDeprecatedThumbnailRequest) -> StreamedBinary:
    """`GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}`: deprecated; an image in another size.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3thumbnailservernamemediaid
    """
    medium = await _find(server, request)
    return thumbnail_response(await server.media_thumbnails.open(medium, request.size, asked_by=_asking_address()))


async def _find(server: Homeserver, request: GetDeprecatedContentRequest | GetDeprecatedThumbnailRequest) -> Medium:
    media = server.media_download
    if not media.policy.unauthenticated_downloads:
        raise NotFound("Files are served to those with an account only")
    return await media.find(
        request.server_name,
        request.media_id,
        asked_by=_asking_address(),
        timeout_ms=request.timeout_ms,
        may_fetch=request.allow_remote,
    )


def _asking_address() -> str:
    """Who asks without an account."""
    return address_key(current_request().client_address)


async def get_config(server: Homeserver, requester: Requester, request: GetConfigRequest) -> ConfigResponse:
    """`GET /_matrix/media/v3/config`: deprecated; how large uploads may be.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3config
    """
    return await get_config_authed(server, requester, request)


async def get_url_preview(server: Homeserver, requester: Requester, request: GetUrlPreviewRequest) -> RawJson:
    """`GET /_matrix/media/v3/preview_url`: deprecated; the same, where the configuration serves deprecated endpoints of
    files.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3preview_url
    """
    if not server.media_download.policy.unauthenticated_downloads:
        raise Unrecognized()
    return await get_url_preview_authed(server, requester, request)


ROUTES = (
    Route(
        "POST",
        "/_matrix/media/v3/upload",
        upload_content,
        rate_limit="upload",
        body_size_max_bytes=_upload_bytes_max,
    ),
    Route("POST", "/_matrix/media/v1/create", create_content, rate_limit="upload"),
    Route(
        "PUT",
        "/_matrix/media/v3/upload/{serverName}/{mediaId}",
        upload_content_to_mxc,
        rate_limit="upload",
        body_size_max_bytes=_upload_bytes_max,
    ),
    Route("GET", "/_matrix/media/v3/download/{serverName}/{mediaId}", get_content, auth=Auth.NONE),
    Route(
        "GET",
        "/_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}",
        get_content_override_name,
        auth=Auth.NONE,
    ),
    Route("GET", "/_matrix/media/v3/thumbnail/{serverName}/{mediaId}", get_content_thumbnail, auth=Auth.NONE),
    Route("GET", "/_matrix/media/v3/config", get_config, auth=Auth.GUEST_OK),
    Route("GET", "/_matrix/media/v3/preview_url", get_url_preview, rate_limit="preview_url"),
)
