"""Files for other servers: `content_repository.yaml`."""

import secrets
from collections.abc import AsyncIterator

from tim_server.matrix.content_disposition import content_disposition
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.storage.media import Medium
from tim_server.web.fields import MediaId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import StreamedBinary
from tim_server.web.route import Auth, Route

TIMEOUT_MS = 20_000


class GetContentRequest(RequestModel):
    """Which file, and how long to wait for its upload."""

    media_id: InPath[MediaId]
    timeout_ms: InQuery[int] = TIMEOUT_MS


async def get_content(server: Homeserver, origin: ServerName, request: GetContentRequest) -> StreamedBinary:
    """`GET /_matrix/federation/v1/media/download/{mediaId}`: a file that was uploaded here, in two parts: metadata, of
    which there is none, and the bytes.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid
    """
    medium = await server.media_download.find_own(request.media_id, timeout_ms=request.timeout_ms)
    pieces = await server.media_download.open(medium, first=0, last=medium.size_bytes - 1)
    boundary = secrets.token_hex(16)
    before, after = _around(medium, boundary)
    return StreamedBinary(
        pieces=_parts(before, pieces, after),
        content_type=f"multipart/mixed; boundary={boundary}",
        length_bytes=len(before) + medium.size_bytes + len(after),
    )


def _around(medium: Medium, boundary: str) -> tuple[bytes, bytes]:
    """What comes before the bytes of the file, and after them."""
    before = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
        f"--{boundary}\r\nContent-Type: {medium.content_type}\r\n"
        f"Content-Disposition: {content_disposition(medium.content_type, medium.file_name)}\r\n\r\n"
    )
    return before.encode(), f"\r\n--{boundary}--\r\n".encode()


async def _parts(before: bytes, pieces: AsyncIterator[bytes], after: bytes) -> AsyncIterator[bytes]:
    yield before
    async for piece in pieces:
        yield piece
    yield after


ROUTES = (Route("GET", "/_matrix/federation/v1/media/download/{mediaId}", get_content, auth=Auth.SERVER),)
