"""Requests to other servers: found, signed, sent through `egress`, and answered with JSON.

    await client.get(destination, path_of("/_matrix/federation/v1/make_join/{}/{}", room_id, user_id), {"ver": "12"})

Spec: https://spec.matrix.org/v1.19/server-server-api/#request-authentication
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from yarl import URL

from tim_server.egress.client import OutgoingClient, OutgoingRequest, StreamedResponse
from tim_server.egress.errors import ContactRefused, GateRefused, RemoteUnreachable
from tim_server.federation.discovery import Discovery, Located
from tim_server.federation.errors import RemoteError, retry_after_ms_of
from tim_server.federation.server_health import ServerHealth
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient, encode_relaxed
from tim_server.matrix.decoded_size import decoded_bytes
from tim_server.matrix.events.build import Author
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.request_auth import RequestSignature, signed_request

OUT_OF_SERVICE = frozenset({502, 503, 504})
"""What reverse proxies answer in place of a server that is down."""
DECODED_BYTES_MAX = 128 * 2**20
"""What any answer may take once it is decoded: the longest list of ids that `size_bytes_max` lets in takes less."""

Query = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBounds:
    """How long an answer may take as a whole, and how large it may be. `containers_max`: how many objects and arrays,
    where it is much larger than what it should hold; tiny ones take many times their size once they are decoded.
    `can_do_without`: a server that could not be reached just now is not tried."""

    timeout_s: float = 30.0
    size_bytes_max: int = 10 * 2**20
    containers_max: int | None = None
    can_do_without: bool = False


def path_of(template: str, *values: str) -> str:
    """A path, with each `{}` of the template filled with a value in percent-encoding."""
    return template.format(*(quote(value, safe="") for value in values))


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationClient:
    """Asks other servers. Every method raises `RemoteError` for an answer that is an error or no JSON object, and
    `ContactRefused`, `RemoteUnreachable` or `ResponseRefused` of `egress`."""

    author: Author
    outgoing: OutgoingClient
    discovery: Discovery
    bounds: RequestBounds = field(default_factory=RequestBounds)
    health: ServerHealth = field(default_factory=ServerHealth)

    async def get(
        self, destination: ServerName, path: str, query: Query | None = None, *, bounds: RequestBounds | None = None
    ) -> dict[str, Any]:
        """The JSON object of an answer to GET."""
        return await self._json("GET", destination, _uri(path, query), None, bounds)

    async def put(
        self,
        destination: ServerName,
        path: str,
        body: Any,
        query: Query | None = None,
        *,
        bounds: RequestBounds | None = None,
    ) -> dict[str, Any]:
        """The JSON object of an answer to PUT; `body` is a JSON value, or its canonical bytes."""
        return await self._json("PUT", destination, _uri(path, query), _encoded(body), bounds)

    async def put_v1(
        self, destination: ServerName, path: str, body: Any, *, bounds: RequestBounds | None = None
    ) -> dict[str, Any]:
        """As `put`, where the answer is an array of the status 200 and the object, as some endpoints of v1 give it."""
        answer = await self._value("PUT", destination, path, _encoded(body), bounds)
        if not isinstance(answer, list) or len(answer) != 2 or not isinstance(answer[1], dict):
            raise RemoteError.malformed(destination, "the answer is not a status and a JSON object")
        return answer[1]

    async def post(
        self,
        destination: ServerName,
        path: str,
        body: Any,
        query: Query | None = None,
        *,
        bounds: RequestBounds | None = None,
    ) -> dict[str, Any]:
        """The JSON object of an answer to POST; `body` is a JSON value, or its canonical bytes."""
        return await self._json("POST", destination, _uri(path, query), _encoded(body), bounds)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        destination: ServerName,
        uri: str,
        content: bytes | None = None,
        *,
        bounds: RequestBounds | None = None,
    ) -> AsyncIterator[StreamedResponse]:
        """An answer of any status, read chunk by chunk. `uri` is a path with its query, percent-encoded."""
        bounds = bounds or self.bounds
        if bounds.can_do_without and self.health.is_backed_off(destination):
            await self.outgoing.admit(destination)
            raise RemoteUnreachable(f"{destination} could not be reached just now")
        located = await self.discovery.locate(destination)
        request = self._signed(method, destination, located, uri, content, bounds)
        try:
            async with self.outgoing.stream(request) as response:
                self._note(destination, response)
                yield response
        except GateRefused:
            raise
        except (RemoteUnreachable, ContactRefused) as error:
            self.discovery.doubt(destination, located)
            if isinstance(error, RemoteUnreachable):
                self.health.failed(destination)
            raise

    def _signed(
        self,
        method: str,
        destination: ServerName,
        located: Located,
        uri: str,
        content: bytes | None,
        bounds: RequestBounds,
    ) -> OutgoingRequest:
        try:
            url = URL(f"https://{located.authority}{uri}")  # normalised, so that what is signed is what is sent
        except ValueError:
            raise RemoteUnreachable(f"{located.authority} is no host and port") from None
        message = signed_request(
            method=method,
            uri=url.raw_path_qs,
            origin=self.author.server_name,
            destination=destination,
            content=content,
        )
        signature = RequestSignature(
            origin=self.author.server_name,
            destination=destination,
            key_id=self.author.key.key_id,
            signature=self.author.key.sign(message),
        )
        headers = {"Authorization": signature.header(), "Host": located.host}
        if content is not None:
            headers["Content-Type"] = "application/json"
        return OutgoingRequest(
            method=method,
            url=str(url),
            server_name=destination,
            headers=headers,
            body=content,
            tls_server_name=located.tls_name,
            timeout_seconds=bounds.timeout_s,
            response_size_bytes_max=bounds.size_bytes_max,
            may_repeat=True,  # no operation does anything else the second time; claiming takes one more key
        )

    def _note(self, destination: ServerName, response: StreamedResponse) -> None:
        if response.status in OUT_OF_SERVICE:
            retry_after_ms = retry_after_ms_of(None, response.headers.get("Retry-After"))
            self.health.failed(destination, retry_after_ms=retry_after_ms)
        else:
            self.health.heard_from(destination)

    async def _json(
        self, method: str, destination: ServerName, uri: str, content: bytes | None, bounds: RequestBounds | None
    ) -> dict[str, Any]:
        answer = await self._value(method, destination, uri, content, bounds)
        if not isinstance(answer, dict):
            raise RemoteError.malformed(destination, "the answer is not a JSON object")
        return answer

    async def _value(
        self, method: str, destination: ServerName, uri: str, content: bytes | None, bounds: RequestBounds | None
    ) -> Any:
        async with self.stream(method, destination, uri, content, bounds=bounds) as response:
            body = b"".join([chunk async for chunk in response.chunks])
        containers_max = (bounds or self.bounds).containers_max
        if containers_max is not None and body.count(b"{") + body.count(b"[") > containers_max:
            raise RemoteError.malformed(destination, f"the answer holds more than {containers_max} objects")
        if decoded_bytes(body) > DECODED_BYTES_MAX:
            raise RemoteError.malformed(destination, "the answer takes too much memory")
        try:
            answer = decode_lenient(body)
        except CanonicalJsonError:
            answer = None
        if response.status != 200:
            raise RemoteError.of(destination, response.status, answer, response.headers.get("Retry-After"))
        return answer


def _uri(path: str, query: Query | None) -> str:
    pairs = [(key, v) for key, value in (query or {}).items() for v in ([value] if isinstance(value, str) else value)]
    encoded = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in pairs)
    return f"{path}?{encoded}" if encoded else path


def _encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else encode_relaxed(body)
