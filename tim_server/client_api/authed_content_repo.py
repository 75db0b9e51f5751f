"""Files, for those who have an account: `authed-content-repo.yaml`."""

from typing import Any

import msgspec

from tim_server.matrix.content_disposition import clean_file_name
from tim_server.matrix.errors import Unrecognized
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.storage.media import Medium
from tim_server.web.fields import MediaId, ServerName
from tim_server.web.media import FileRequest, ThumbnailRequest, file_response, thumbnail_response
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel, StreamedBinary
from tim_server.web.route import Auth, Route


class GetContentRequest(FileRequest):
    """Which file, and what of it."""

    server_name: InPath[ServerName]
    media_id: InPath[MediaId]


class GetContentOverrideNameRequest(GetContentRequest):
    """Which file, what of it, and what it is to be called."""

    file_name: InPath[str]


class GetContentThumbnailRequest(ThumbnailRequest):
    """Of which image, and how large."""

    server_name: InPath[ServerName]
    media_id: InPath[MediaId]


class GetConfigRequest(RequestModel):
    """Nothing beside the requester."""


class GetUrlPreviewRequest(RequestModel):
    """Which page; and of when, where there are several previews of it, which there are not."""

    url: InQuery[str]
    ts: InQuery[int | None] = None


class ConfigResponse(ResponseModel):
    """How large uploads may be."""

    upload_size: int = msgspec.field(name="m.upload.size")


async def get_content_authed(server: Homeserver, requester: Requester, request: GetContentRequest) -> Any:
    """`GET /_matrix/client/v1/media/download/{serverName}/{mediaId}`: the bytes of a file, or a range of them.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
    """
    medium = await _find(server, requester, request)
    return await file_response(
        server.media_download, medium, request, file_name=medium.file_name, asked_by=requester.user_id
    )


async def get_content_override_name_authed(
    server: Homeserver, requester: Requester, request: GetContentOverrideNameRequest
) -> Any:
    """`GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}`: the same under another name.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaidfilename
    """
    medium = await _find(server, requester, request)
    return await file_response(
        server.media_download, medium, request, file_name=clean_file_name(request.file_name), asked_by=requester.user_id
    )


async def get_content_thumbnail_authed(
    server: Homeserver, requester: Requester, request: GetContentThumbnailRequest
) -> StreamedBinary:
    """`GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}`: an image in another size.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid
    """
    medium = await _find(server, requester, request)
    return thumbnail_response(await server.media_thumbnails.open(medium, request.size, asked_by=requester.user_id))


async def _find(
    server: Homeserver, requester: Requester, request: GetContentRequest | GetContentThumbnailRequest
) -> Medium:
    return await server.media_download.find(
        request.server_name, request.media_id, asked_by=requester.user_id, timeout_ms=request.timeout_ms
    )


async def get_config_authed(server: Homeserver, requester: Requester, request: GetConfigRequest) -> ConfigResponse:
    """`GET /_matrix/client/v1/media/config`: how large uploads may be.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediaconfig
    """
    return ConfigResponse(upload_size=server.media_upload.policy.upload_bytes_max)


async def get_url_preview_authed(server: Homeserver, requester: Requester, request: GetUrlPreviewRequest) -> RawJson:
    """`GET /_matrix/client/v1/media/preview_url`: what a page says of itself, and its picture as a file of this server.
    Not there unless the configuration and the profile allow it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url
    """
    if server.url_previews is None:
        raise Unrecognized()
    return RawJson(await server.url_previews.of(requester, request.url))


ROUTES = (
    Route(
        "GET",
        "/_matrix/client/v1/media/download/{serverName}/{mediaId}",
        get_content_authed,
        auth=Auth.GUEST_OK,
    ),
    Route(
        "GET",
        "/_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}",
        get_content_override_name_authed,
        auth=Auth.GUEST_OK,
    ),
    Route(
        "GET",
        "/_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}",
        get_content_thumbnail_authed,
        auth=Auth.GUEST_OK,
    ),
    Route("GET", "/_matrix/client/v1/media/config", get_config_authed, auth=Auth.GUEST_OK),
    Route("GET", "/_matrix/client/v1/media/preview_url", get_url_preview_authed, rate_limit="preview_url"),
)
