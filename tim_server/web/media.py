"""Answers with the bytes of a file: as safe in a browser as they can be made, whole or a range of them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#content-repository
"""

from typing import Any, Literal

from pydantic import Field

from tim_server.matrix.content_disposition import content_disposition
from tim_server.media_store.thumbnails import ThumbnailSize
from tim_server.services.media.download import MediaDownload
from tim_server.services.media.thumbnails import OpenThumbnail
from tim_server.storage.media import Medium
from tim_server.web.ranges import RangeNotSatisfiable, names_tag, range_of
from tim_server.web.request_model import InHeader, InQuery, RequestModel
from tim_server.web.response_model import Binary, StreamedBinary, WithStatus

TIMEOUT_MS = 20_000
"""How long to wait for an upload, unless a request says otherwise."""
SIDE_ASKED_MAX = 100_000

_SAFETY = {
    "Content-Security-Policy": "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "
    "style-src 'unsafe-inline'; object-src 'self';",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_CACHING = {"Cache-Control": "private, max-age=86400, immutable"}


class FileRequest(RequestModel):
    """What is asked for of a file."""

    timeout_ms: InQuery[int] = TIMEOUT_MS
    range: InHeader[str | None] = Field(default=None, alias="Range")
    if_range: InHeader[str | None] = Field(default=None, alias="If-Range")
    if_none_match: InHeader[str | None] = Field(default=None, alias="If-None-Match")


class ThumbnailRequest(RequestModel):
    """What is asked for of an image."""

    width: InQuery[int] = Field(ge=1, le=SIDE_ASKED_MAX)
    height: InQuery[int] = Field(ge=1, le=SIDE_ASKED_MAX)
    method: InQuery[Literal["crop", "scale"]] = "scale"
    animated: InQuery[bool] = False
    timeout_ms: InQuery[int] = TIMEOUT_MS

    @property
    def size(self) -> ThumbnailSize:
        """The size that is wanted."""
        return ThumbnailSize(
            width=self.width, height=self.height, is_cropped=self.method == "crop", is_animated=self.animated
        )


def thumbnail_response(thumbnail: OpenThumbnail) -> StreamedBinary:
    """The answer for a thumbnail, which is always of a type that is safe to show."""
    return StreamedBinary(
        pieces=thumbnail.pieces,
        content_type=thumbnail.content_type,
        length_bytes=thumbnail.size_bytes,
        headers={**_SAFETY, **_CACHING, "Content-Disposition": thumbnail_disposition(thumbnail)},
    )


def thumbnail_disposition(thumbnail: OpenThumbnail) -> str:
    """The header for a thumbnail."""
    return content_disposition(thumbnail.content_type, f"thumbnail.{thumbnail.content_type.partition('/')[2]}")


async def file_response(
    media: MediaDownload, medium: Medium, asked: FileRequest, *, file_name: str | None, asked_by: str
) -> Any:
    """The answer for a file, under this name. A range counts where `If-Range` names the file, or is not there; who has
    the file already is told so."""
    tag = f'"{medium.fingerprint.hex()}"'
    size = medium.size_bytes
    if names_tag(asked.if_none_match, tag):
        return WithStatus(304, Binary(body=b"", content_type=medium.content_type), {**_SAFETY, **_CACHING, "ETag": tag})
    try:
        wanted = range_of(asked.range if asked.if_range in (None, tag) else None, size)
    except RangeNotSatisfiable:
        return WithStatus(416, Binary(body=b"", content_type="text/plain"), {"Content-Range": f"bytes */{size}"})
    first, last = wanted or (0, size - 1)
    streamed = StreamedBinary(
        pieces=await media.open(medium, first=first, last=last, asked_by=asked_by),
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
