"""Every outgoing request: the one place of the server that opens connections to others.

    client = OutgoingClient(settings=OutgoingSettings(hosts={"b.example": "10.0.0.2:8448"}), gate=gate)
    response = await client.send(OutgoingRequest(method="GET", url="https://b.example/…", server_name=name))

In this order, and again for each redirect: the trust gate is asked, the name is resolved, the address is checked, TLS
is verified, the connection is inspected; the answer is read up to a limit. Nothing follows redirects, keeps cookies,
or reads proxies from the environment, unless it says so here.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import aiohttp
from yarl import URL

from tim_server.egress.addresses import AddressPolicy
from tim_server.egress.connector import (
    CheckedConnector,
    CheckedResolver,
    Peer,
    PeerCheck,
    certificate_complaint,
    current_peer,
    split_host_port,
)
from tim_server.egress.errors import (
    AddressRefused,
    ContactRefused,
    GateRefused,
    OutgoingError,
    RemoteUnreachable,
    ResponseRefused,
    ResponseTooLarge,
)
from tim_server.egress.tls import client_tls
from tim_server.egress.trust_gate import ClosedGate, TrustGate
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
# What may go along to another origin: neither credentials nor signatures.
_HARMLESS_HEADERS = frozenset({"accept", "accept-language", "user-agent", "range"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingSettings:
    """Where a client may go, and within which bounds.

    `endpoint` (`host:port`) makes it a client for one service that the operator configured: that one only, at any
    address, plain HTTP too, without asking the gate. Otherwise `https` only, public addresses and `allowed_networks`
    only, and each contact is the gate's decision. `hosts` maps names (or name:port) to address:port without DNS.
    """

    endpoint: str | None = None
    allowed_networks: tuple[str, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)
    connect_timeout_seconds: float = 10.0
    silence_timeout_seconds: float = 30.0
    connections_max: int = 100
    connections_per_host_max: int = 10
    user_agent: str = "tim-server"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRequest:
    """One request. `server_name` is whom the contact is with, also where it is redirected to another host; None means
    the URL's host.

    `tls_server_name` is the name that the certificate must have, where it is not the URL's host. `may_repeat`: doing it
    twice does no harm, also where the method does not say so; then it is sent again over a new connection where the
    other side has closed the one that was used.
    """

    method: str
    url: str
    server_name: ServerName | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    tls_server_name: str | None = None
    timeout_seconds: float = 30.0
    response_size_bytes_max: int = 10 * 1024 * 1024
    redirects_max: int = 0
    may_repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingResponse:
    """An answer, whatever its status, with its body read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedResponse:
    """An answer whose body is read in `chunks`, up to the request's limit; raises as `send` does."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    url: str
    finding: str | None = None
    """What the check of the connection found about the peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """An attempt to contact somebody, for recording: `refusal` says why it was not made."""

    server_name: str
    host: str
    method: str
    refusal: str | None


class OutgoingClient:
    """Makes outgoing requests. Without a `gate`, and without an endpoint of its own, it refuses every contact."""

    def __init__(
        self,
        *,
        settings: OutgoingSettings | None = None,
        gate: TrustGate | None = None,
        tls: ssl.SSLContext | None = None,
        peer_check: PeerCheck | None = None,
        record: Callable[[Contact], None] | None = None,
    ) -> None:
        self._settings = settings or OutgoingSettings()
        self._gate = gate or ClosedGate()
        self._tls = tls or client_tls()
        self._peer_check = peer_check
        self._record = record
        self._endpoint = split_host_port(self._settings.endpoint) if self._settings.endpoint else None
        self._pool: _Pool | None = None

    async def send(self, request: OutgoingRequest) -> OutgoingResponse:
        """The answer to `request`; raises ContactRefused, RemoteUnreachable or ResponseRefused."""
        async with self.stream(request) as response:
            body = b"".join([chunk async for chunk in response.chunks])
            return OutgoingResponse(status=response.status, headers=response.headers, body=body, url=response.url)

    @asynccontextmanager
    async def stream(self, request: OutgoingRequest) -> AsyncIterator[StreamedResponse]:
        """As `send`, but the body is read by the caller, chunk by chunk, within the same time limit."""
        _parse_url(request.url)
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        async with self._lease() as session:
            with _outgoing_errors(request):
                async with asyncio.timeout_at(deadline):
                    response, peer = await self._follow(session, request)
            try:
                yield StreamedResponse(
                    status=response.status,
                    headers=response.headers,
                    chunks=_chunks(response, request, deadline),
                    url=str(response.url),
                    finding=peer.finding,
                )
            finally:
                response.close()  # a body that was read to its end has given its connection back already

    async def admit(self, server_name: ServerName) -> None:
        """Raise `GateRefused` unless the trust gate allows contact with the server: to be asked before anything about
        it is looked up elsewhere."""
        verdict = await self._gate.may_contact(server_name)
        if not verdict.is_allowed:
            self._note(Contact(server_name=server_name, host="", method="", refusal=verdict.reason))
            raise GateRefused(verdict.reason)

    def _note(self, contact: Contact) -> None:
        if self._record is not None:
            self._record(contact)

    async def close_connections(self) -> None:
        """Leave the pooled connections: what comes next connects, and is checked, anew. What is in flight goes on."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.is_retired = True
            if pool.in_flight == 0:
                await pool.session.close()

    async def close(self) -> None:
        """Close all connections; the client can be used again."""
        if self._pool is not None:
            await self._pool.session.close()
            self._pool = None

    async def _follow(
        self, session: aiohttp.ClientSession, request: OutgoingRequest
    ) -> tuple[aiohttp.ClientResponse, Peer]:
        """The answer to `request`, or to where it redirects to: each step is checked like the first."""
        redirects_left = request.redirects_max
        while True:
            peer = Peer(server_name=request.server_name)
            response = await self._open(session, request, peer)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None or request.redirects_max == 0:
                return response, peer
            response.close()
            if redirects_left == 0 or request.method not in _SAFE_METHODS:
                raise ResponseRefused(f"{response.url.raw_host} redirects too often, or what can't be redirected")
            redirects_left -= 1
            request = _redirected(request, response.url.join(_parse_url(location)))

    async def _open(
        self, session: aiohttp.ClientSession, request: OutgoingRequest, peer: Peer
    ) -> aiohttp.ClientResponse:
        url = URL(request.url).with_fragment(None)
        refusal = await self._refusal(url, request)
        self._note(
            Contact(
                server_name=request.server_name or "",
                host=url.host_port_subcomponent or "",
                method=request.method,
                refusal=None if refusal is None else str(refusal),
            )
        )
        if refusal is not None:
            raise refusal
        current_peer.set(peer)
        ask = partial(
            session.request,
            request.method,
            url,
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            server_hostname=request.tls_server_name,
        )
        try:
            return await ask()
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not request.may_repeat:
                raise
            return await ask()

    async def _refusal(self, url: URL, request: OutgoingRequest) -> ContactRefused | None:
        """Why `url` may not be asked; None where it may."""
        if url.raw_host is None or url.user is not None or url.scheme not in ("https", "http"):
            return ContactRefused("not a URL that may be asked")
        if self._endpoint is not None:
            is_endpoint = (url.raw_host, url.port) == self._endpoint
            return None if is_endpoint else ContactRefused(f"{url.raw_host} is not the configured endpoint")
        if url.scheme != "https":
            return ContactRefused(f"{url.raw_host} may be asked over TLS only")
        try:
            server_name = request.server_name or ServerName.parse(url.host_port_subcomponent or "")
        except InvalidIdentifier:
            return ContactRefused(f"{url.raw_host} is not a server name")
        verdict = await self._gate.may_contact(server_name)
        return None if verdict.is_allowed else GateRefused(verdict.reason)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The session, kept open until the request is done even when the pool is left meanwhile."""
        if self._pool is None:
            self._pool = _Pool(session=self._new_session())
        pool = self._pool
        pool.in_flight += 1
        try:
            yield pool.session
        finally:
            pool.in_flight -= 1
            if pool.is_retired and pool.in_flight == 0:
                await pool.session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        settings = self._settings
        policy = None if self._endpoint is not None else AddressPolicy(settings.allowed_networks)
        connector = CheckedConnector(
            CheckedResolver(policy, settings.hosts),
            tls=self._tls,
            peer_check=self._peer_check,
            connections_max=settings.connections_max,
            connections_per_host_max=settings.connections_per_host_max,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            headers={"User-Agent": settings.user_agent},
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=settings.connect_timeout_seconds,
                sock_read=settings.silence_timeout_seconds,
            ),
        )


@dataclass(slots=True, kw_only=True)
class _Pool:
    """A session with its connections, and who uses it."""

    session: aiohttp.ClientSession
    in_flight: int = 0
    is_retired: bool = False


def _parse_url(text: str) -> URL:
    try:
        return URL(text)
    except ValueError:
        raise ContactRefused("not a URL that may be asked") from None


async def _chunks(response: aiohttp.ClientResponse, request: OutgoingRequest, deadline: float) -> AsyncIterator[bytes]:
    """The body as it arrives; raises ResponseTooLarge at the limit, before reading where the length is announced."""
    size_max = request.response_size_bytes_max
    too_large = ResponseTooLarge(f"{response.url.raw_host} answers with more than {size_max} bytes")
    if response.content_length is not None and response.content_length > size_max and request.method != "HEAD":
        raise too_large
    received = 0
    while True:
        with _outgoing_errors(request):
            async with asyncio.timeout_at(deadline):
                chunk = await response.content.readany()
        if not chunk:
            return
        received += len(chunk)
        if received > size_max:
            raise too_large
        yield chunk


def _redirected(request: OutgoingRequest, target: URL) -> OutgoingRequest:
    """The request for where it was redirected to; another origin gets no credentials and no TLS name of ours. The
    contact is still with the same server where the target is its host, or one below it."""
    if not target.absolute:
        raise ContactRefused("not a URL that may be asked")
    if target.origin() == URL(request.url).origin():
        return replace(request, url=str(target))
    headers = {name: value for name, value in request.headers.items() if name.lower() in _HARMLESS_HEADERS}
    server_name = None if request.server_name is None else contact_at(str(target), request.server_name)
    return replace(request, url=str(target), server_name=server_name, headers=headers, tls_server_name=None)


def contact_at(url: str, server_name: ServerName) -> ServerName | None:
    """Whom the contact is with where `server_name` sends us on to `url`: still with that server where it is its own
    host, or one below it; None for others, whose host must be allowed itself."""
    return server_name if _is_within(_parse_url(url).raw_host or "", server_name) else None


def _is_within(host: str, server_name: ServerName) -> bool:
    """Whether `host` is the server's own, or a name below it, which the same organisation gives out."""
    own = server_name.host.lower()
    return host.lower() == own or host.lower().endswith(f".{own}")


@contextmanager
def _outgoing_errors(request: OutgoingRequest) -> Iterator[None]:
    """Turn what aiohttp and the system raise into OutgoingErrors."""
    host = URL(request.url).raw_host
    try:
        yield
    except OutgoingError:
        raise
    except TimeoutError:
        raise RemoteUnreachable(f"{host} did not answer in time") from None
    except (aiohttp.ClientError, OSError) as error:
        refused = _refused_address(error)
        if refused is not None:
            raise ContactRefused(str(refused)) from None
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            complaint = certificate_complaint(error)
            raise RemoteUnreachable(f"{host}'s certificate is not accepted: {complaint}") from error
        if isinstance(error, aiohttp.InvalidURL):
            raise ContactRefused("not a URL that may be asked") from None
        raise RemoteUnreachable(f"{host} can't be reached: {type(error).__name__}") from error


def _refused_address(error: BaseException | None) -> AddressRefused | None:
    while error is not None and not isinstance(error, AddressRefused):
        error = error.__cause__
    return error
