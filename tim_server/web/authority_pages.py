"""What an authority publishes, over HTTP: three files, to be read by everybody and written by nobody.

The conversation is described in `trust/publication.py`.
"""

from dataclasses import dataclass, field

from aiohttp.web import BaseRequest, Response, StreamResponse

from tim_server.services.directory_authority.publication import Publication, PublishedFile
from tim_server.trust.publication import VERSION_PARAMETER

_HEALTH_PATH = "/health"
_NOTHING: Publication = {}


@dataclass(slots=True)
class AuthorityPages:
    """Answers from `publication`, which is replaced as a whole when something new is published.

    `is_healthy` is what `/health` tells: whether what is published is renewed in time.
    """

    publication: Publication = field(default_factory=lambda: _NOTHING)
    is_healthy: bool = True

    async def answer(self, request: BaseRequest) -> StreamResponse:
        """The file that `request` asks for, or that there is nothing newer."""
        path = request.path
        file = self.publication.get(path)
        if file is None and path != _HEALTH_PATH:
            return _text(404, "not found")
        if request.method not in ("GET", "HEAD"):
            response = _text(405, "method not allowed")
            response.headers["Allow"] = "GET, HEAD"
            return response
        if file is not None:
            return _answer_with(file, request)
        return _text(200, "ok") if self.is_healthy else _text(503, "failing: see the log")


def _answer_with(file: PublishedFile, request: BaseRequest) -> Response:
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if _has_it(file, request):
        return Response(status=304, headers=headers)
    asked = request.query.get(VERSION_PARAMETER)
    if asked is not None and file.version is not None and asked == str(file.version):
        return Response(status=204, headers=headers)
    return Response(body=file.content, headers={**headers, "Content-Type": file.media_type})


def _has_it(file: PublishedFile, request: BaseRequest) -> bool:
    tags = request.headers.get("If-None-Match", "").split(",")
    return any(tag.strip().removeprefix("W/") in (file.etag, "*") for tag in tags)


def _text(status: int, text: str) -> Response:
    return Response(status=status, text=text + "\n")
