"""Files of other servers, read while they arrive.

Spec: https://spec.matrix.org/v1.19/server-server-api/#content-repository
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from tim_server.egress.client import OutgoingRequest, StreamedResponse, contact_at
from tim_server.federation.arriving_object import MalformedAnswer
from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.federation.multipart import ArrivingParts, Part, boundary_of
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient
from tim_server.matrix.content_disposition import clean_content_type, file_name_of
from tim_server.matrix.identifiers import MediaId, ServerName

ERROR_BYTES_MAX = 64 * 1024
AROUND_BYTES_MAX = 64 * 1024
"""How much an answer may be larger than the file in it."""
REDIRECTS_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file that arrives. `chunks` raise `RemoteError` and the errors of `egress`."""

    content_type: str
    file_name: str | None
    chunks: AsyncIterator[bytes]


@asynccontextmanager
async def download_media(
    client: FederationClient, server_name: ServerName, media_id: MediaId, *, timeout_ms: int, bounds: RequestBounds
) -> AsyncIterator[RemoteFile]:
    """A file of another server; `bounds` are those of the file, `timeout_ms` is how long the server may wait for it to
    be uploaded. Raises what the client raises. "Servers MUST try the endpoints described below before falling back to
    the deprecated `/_matrix/media/*` endpoints when they receive a `404 M_UNRECOGNIZED` error"."""
    bounds = RequestBounds(timeout_s=bounds.timeout_s, size_bytes_max=bounds.size_bytes_max + AROUND_BYTES_MAX)
    asked = _Asked(client=client, server_name=server_name, media_id=media_id, timeout_ms=timeout_ms, bounds=bounds)
    async with AsyncExitStack() as stack:
        try:
            file = await stack.enter_async_context(asked.in_parts())
        except RemoteError as error:
            if not error.is_unrecognized:
                raise
            file = await stack.enter_async_context(asked.unauthenticated())
        yield file


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One file that is asked for."""

    client: FederationClient
    server_name: ServerName
    media_id: MediaId
    timeout_ms: int
    bounds: RequestBounds

    @asynccontextmanager
    async def in_parts(self) -> AsyncIterator[RemoteFile]:
        path = path_of("/_matrix/federation/v1/media/download/{}", self.media_id)
        async with AsyncExitStack() as stack:
            response = await stack.enter_async_context(self._stream(f"{path}?timeout_ms={self.timeout_ms}"))
            with self._malformed_told():
                parts = aiter(ArrivingParts(response.chunks, boundary_of(response.headers.get("Content-Type", ""))))
                await _next(parts)  # metadata, of which there is none yet
                part = await _next(parts)
            if (location := part.headers.get("location")) is None:
                yield _file(part.headers, self._content(part, parts))
                return
            await stack.aclose()
            yield await stack.enter_async_context(self._elsewhere(location))

    @asynccontextmanager
    async def unauthenticated(self) -> AsyncIterator[RemoteFile]:
        path = path_of("/_matrix/media/v3/download/{}/{}", self.server_name, self.media_id)
        query = f"allow_remote=false&allow_redirect=false&timeout_ms={self.timeout_ms}"
        async with self._stream(f"{path}?{query}") as response:
            yield _file(response.headers, response.chunks)

    @asynccontextmanager
    async def _stream(self, uri: str) -> AsyncIterator[StreamedResponse]:
        async with self.client.stream("GET", self.server_name, uri, bounds=self.bounds) as response:
            await self._require_success(response)
            yield response

    @asynccontextmanager
    async def _elsewhere(self, location: str) -> AsyncIterator[RemoteFile]:
        """The file at where the server sends us; contact with that place is checked as any other."""
        request = OutgoingRequest(
            method="GET",
            url=location,
            server_name=contact_at(location, self.server_name),
            timeout_seconds=self.bounds.timeout_s,
            response_size_bytes_max=self.bounds.size_bytes_max,
            redirects_max=REDIRECTS_MAX,
        )
        async with self.client.outgoing.stream(request) as response:
            await self._require_success(response)
            yield _file(response.headers, response.chunks)

    async def _require_success(self, response: StreamedResponse) -> None:
        if response.status == 200:
            return
        body = bytearray()
        async for chunk in response.chunks:
            body += chunk
            if len(body) > ERROR_BYTES_MAX:
                break
        try:
            answer = decode_lenient(bytes(body))
        except CanonicalJsonError:
            answer = None
        raise RemoteError.of(self.server_name, response.status, answer, response.headers.get("Retry-After"))

    async def _content(self, part: Part, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """The bytes of a part, which must be the last one."""
        with self._malformed_told():
            async for chunk in part.chunks:
                yield chunk
            async for _ in parts:
                raise MalformedAnswer("it has more parts than two")

    @contextmanager
    def _malformed_told(self) -> Iterator[None]:
        try:
            yield
        except MalformedAnswer as error:
            raise RemoteError.malformed(self.server_name, str(error)) from None


async def _next(parts: AsyncIterator[Part]) -> Part:
    part = await anext(parts, None)
    if part is None:
        raise MalformedAnswer("it has fewer parts than two")
    return part


def _file(headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> RemoteFile:
    names = {name.lower(): value for name, value in headers.items()}
    return RemoteFile(
        content_type=clean_content_type(names.get("content-type")),
        file_name=file_name_of(names.get("content-disposition")),
        chunks=chunks,
    )
