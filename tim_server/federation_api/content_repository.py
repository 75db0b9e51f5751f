"""Files for other servers: `content_repository.yaml`."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from tim_server.matrix.content_disposition import content_disposition
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import MediaId
from tim_server.web.media import TIMEOUT_MS, ThumbnailRequest, thumbnail_disposition
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import Binary, StreamedBinary
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
    boundary = secrets.token_hex(16)
    disposition = content_disposition(medium.content_type, medium.file_name)
    before, after = _around(boundary, medium.content_type, disposition)
    return StreamedBinary(
        pieces=_parts(before, pieces, after),
        content_type=f"multipart/mixed; boundary={boundary}",
        length_bytes=len(before) + medium.size_bytes + len(after),
    )


async def get_content_thumbnail(server: Homeserver, origin: ServerName, request: GetContentThumbnailRequest) -> Binary:
    """`GET /_matrix/federation/v1/media/thumbnail/{mediaId}`: an image that was uploaded here, in another size.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediathumbnailmediaid
    """
    medium = await server.media_download.find_own(request.media_id, timeout_ms=request.timeout_ms)
    thumbnail = await server.media_thumbnails.of(medium, request.size, asked_by=origin)
    boundary = secrets.token_hex(16)
    before, after = _around(boundary, thumbnail.content_type, thumbnail_disposition(thumbnail))
    return Binary(body=before + thumbnail.content + after, content_type=f"multipart/mixed; boundary={boundary}")


def _around(boundary: str, content_type: str, disposition: str) -> tuple[bytes, bytes]:
    """What comes before the bytes of a file, and after them."""
    before = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
        f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Disposition: {disposition}\r\n\r\n"
    )
    return before.encode(), f"\r\n--{boundary}--\r\n".encode()


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
