"""Files for other servers: `content_repository.yaml`."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from tim_server.matrix.content_disposition import content_disposition
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import MediaId
from tim_server.web.media import TIMEOUT_MS, ThumbnailRequest, thumbnail_response
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import StreamedBinary
from tim_server.web.route import Auth, Route


class GetContentRequest(RequestModel):
    """Which file, and how long to wait for its upload."""

    media_id: InPath[MediaId]
    timeout_ms: InQuery[int] = TIMEOUT_MS


class GetContentThumbnailRequest(ThumbnailRequest):
    """Of which image, and how large."""

    media_id: InPath[MediaId]


async def get_content(server: Homeserver, origin: ServerName, request: GetContentRequest) -> StreamedBinary:
    """`GET /_matrix/federation/v1/media/download/{mediaId}`: a file that was uploaded here, in two parts: metadata, of
    which there is none, and the bytes.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid
    """
    medium = await server.media_download.find_own(request.media_id, timeout_ms=request.timeout_ms)
    pieces = await server.media_download.open(medium, first=0, last=medium.size_bytes - 1, asked_by=origin)
    return _in_parts(
        StreamedBinary(
            pieces=pieces,
            content_type=medium.content_type,
            length_bytes=medium.size_bytes,
            headers={"Content-Disposition": content_disposition(medium.content_type, medium.file_name)},
        )
    )


async def get_content_thumbnail(
    server: Homeserver, origin: ServerName, request: GetContentThumbnailRequest
) -> StreamedBinary:
    """`GET /_matrix/federation/v1/media/thumbnail/{mediaId}`: an image that was uploaded here, in another size.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediathumbnailmediaid
    """
    medium = await server.media_download.find_own(request.media_id, timeout_ms=request.timeout_ms)
    return _in_parts(thumbnail_response(await server.media_thumbnails.open(medium, request.size, asked_by=origin)))


def _in_parts(file: StreamedBinary) -> StreamedBinary:
    """A file as the second of two parts: metadata, of which there is none, and the bytes."""
    boundary = secrets.token_hex(16)
    disposition = (file.headers or {})["Content-Disposition"]
    before = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
        f"--{boundary}\r\nContent-Type: {file.content_type}\r\nContent-Disposition: {disposition}\r\n\r\n"
    ).encode()
    after = f"\r\n--{boundary}--\r\n".encode()
    return StreamedBinary(
        pieces=_parts(before, file.pieces, after),
        content_type=f"multipart/mixed; boundary={boundary}",
        length_bytes=len(before) + file.length_bytes + len(after),
    )


async def _parts(before: bytes, pieces: AsyncGenerator[bytes], after: bytes) -> AsyncGenerator[bytes]:
    yield before
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
    yield after


ROUTES = (
    Route("GET", "/_matrix/federation/v1/media/download/{mediaId}", get_content, auth=Auth.SERVER),
    Route("GET", "/_matrix/federation/v1/media/thumbnail/{mediaId}", get_content_thumbnail, auth=Auth.SERVER),
)
