"""Answers with the bytes of a file: as safe in a browser as they can be made, whole or a range of them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#content-repository
"""

from typing import Any

from tim_server.matrix.content_disposition import content_disposition
from tim_server.services.media.download import MediaDownload
from tim_server.storage.media import Medium
from tim_server.web.ranges import RangeNotSatisfiable, range_of
from tim_server.web.response_model import Binary, StreamedBinary, WithStatus

_SAFETY = {
    "Content-Security-Policy": "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "
    "style-src 'unsafe-inline'; object-src 'self';",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_CACHING = {"Cache-Control": "private, max-age=86400, immutable"}


async def file_response(
    media: MediaDownload, medium: Medium, *, file_name: str | None, range_header: str | None, if_range: str | None
) -> Any:
    """The answer for a file, under this name. A range counts where `If-Range` names the file, or is not there."""
    tag = f'"{medium.media_id}"'
    size = medium.size_bytes
    try:
        wanted = range_of(range_header if if_range in (None, tag) else None, size)
    except RangeNotSatisfiable:
        return WithStatus(416, Binary(body=b"", content_type="text/plain"), {"Content-Range": f"bytes */{size}"})
    first, last = wanted or (0, size - 1)
    streamed = StreamedBinary(
        pieces=await media.open(medium, first=first, last=last),
        content_type=medium.content_type,
        length_bytes=last - first + 1,
        headers={
            **_SAFETY,
            **_CACHING,
            "Accept-Ranges": "bytes",
            "Content-Disposition": content_disposition(medium.content_type, file_name),
            "ETag": tag,
            **({} if wanted is None else {"Content-Range": f"bytes {first}-{last}/{size}"}),
        },
    )
    return streamed if wanted is None else WithStatus(206, streamed)
