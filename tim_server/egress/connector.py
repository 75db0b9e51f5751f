"""Connect only to addresses that the policy allows, whatever a name resolves to at that moment.

The check stands where sockets are made, so nothing gets past it: names, literal addresses, redirects, and names that
resolve differently the second time.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tim_server.egress.addresses import AddressPolicy
from tim_server.egress.errors import AddressRefused
from tim_server.egress.presented_chain import presented_chain
from tim_server.matrix.identifiers import ServerName


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnection:
    """A connection before a request is sent over it."""

    server_name: ServerName | None
    """Whom the contact is with, where the request says so."""
    host: str
    address: str
    port: int
    certificates: tuple[bytes, ...]
    """What the peer presented, DER: its own certificate first; empty without TLS."""


MAPPED_MAX = 10_000
"""How many addresses are remembered to which the static map has led."""


LOOK_UPS_AT_ONCE_MAX = 100
"""Names whose name servers do not answer hold up a look-up for many seconds, and must not hold up all others."""
_look_ups = ThreadPoolExecutor(LOOK_UPS_AT_ONCE_MAX, thread_name_prefix="look-up")


class PeerCheck(Protocol):
    """Looks at whom we are connected to."""

    async def check(self, connection: PeerConnection, /) -> str | None:
        """Inspect a connection, each time before it is used; raises ContactRefused to close it. What is returned about
        the peer goes along with the response."""
        ...

    def handshake_failed(self, server_name: ServerName | None, reason: str, /) -> None:
        """TLS did not accept the peer's certificate, so that there is no connection to inspect."""
        ...


@dataclass(slots=True, kw_only=True)
class Peer:
    """Who a request is for, and what the check of the connection found."""

    server_name: ServerName | None
    finding: str | None = None


current_peer: ContextVar[Peer] = ContextVar("current_peer")
"""Set while a request is made: aiohttp hands nothing of the kind through to its connector."""


def split_host_port(text: str) -> tuple[str, int]:
    """`address:port`, IPv6 in brackets; raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"not an address and a port: {text!r}")
    return host.strip("[]"), int(port)


class CheckedResolver(AbstractResolver):
    """Resolves names: first by the static map `hosts` (name, or name:port, to address:port), then as the system does.

    Addresses that the policy refuses are left out; what the map names is the operator's word and stays.
    """

    def __init__(self, policy: AddressPolicy | None, hosts: Mapping[str, str]) -> None:
        self._policy = policy
        self._hosts = {name.lower(): split_host_port(target) for name, target in hosts.items()}
        self._mapped = set(self._hosts.values())

    def may_connect(self, address: str, port: int) -> bool:
        """Whether a socket to `address` may be made; without a policy any may."""
        return self._policy is None or (address, port) in self._mapped or self._policy.allows(address)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host` that may be connected to; raises AddressRefused where there are others only."""
        mapped = self._hosts.get(f"{host}:{port}".lower()) or self._hosts.get(host.lower())
        if mapped is not None:
            address, port = mapped
        else:
            address = host
        infos = await _addresses_of(address, port, family)
        results = [_resolve_result(host, info) for info in infos]
        if mapped is not None and len(self._mapped) < MAPPED_MAX:
            self._mapped.update((found["host"], port) for found in results)  # where the map leads to a name
        allowed = [found for found in results if mapped is not None or self.may_connect(found["host"], port)]
        if not allowed:
            raise AddressRefused(f"{host} has no address that may be connected to")
        return allowed

    async def close(self) -> None:
        """Nothing to close."""


class CheckedConnector(aiohttp.TCPConnector):
    """aiohttp's connector with the policy at the socket, and a check of each connection before it is used."""

    def __init__(
        self,
        resolver: CheckedResolver,
        *,
        tls: ssl.SSLContext,
        peer_check: PeerCheck | None = None,
        connections_max: int = 100,
        connections_per_host_max: int = 10,
    ) -> None:
        super().__init__(
            resolver=resolver,
            ssl=tls,
            use_dns_cache=False,
            limit=connections_max,
            limit_per_host=connections_per_host_max,
            socket_factory=self._make_socket,
        )
        self._checked_resolver = resolver
        self._peer_check = peer_check

    def _make_socket(self, addr_info: Any) -> socket.socket:
        family, kind, protocol, _, sockaddr = addr_info
        if not self._checked_resolver.may_connect(sockaddr[0], sockaddr[1]):
            raise AddressRefused(f"connections to {sockaddr[0]} are not allowed")
        return socket.socket(family=family, type=kind, proto=protocol)

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 (the signature of aiohttp)
        """A connection, new or pooled, that the check lets pass."""
        peer = current_peer.get()
        try:
            connection = await super().connect(req, traces, timeout)
        except aiohttp.ClientConnectorCertificateError as error:
            if self._peer_check is not None:
                self._peer_check.handshake_failed(peer.server_name, certificate_complaint(error))
            raise
        if self._peer_check is not None:
            try:
                peer.finding = await self._peer_check.check(_peer_connection(req, connection.transport, peer))
            except BaseException:
                connection.close()
                raise
        return connection


async def _addresses_of(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
    """What the system says; raises OSError. Literal addresses do not wait for others' names."""
    look_up = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
    try:
        return look_up(flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        pass
    try:
        return await asyncio.get_running_loop().run_in_executor(_look_ups, look_up)
    except UnicodeError:  # not even the form of a name, such as two dots in a row
        raise OSError(f"{host} is not a host name") from None


def certificate_complaint(error: aiohttp.ClientConnectorCertificateError) -> str:
    """What TLS has against a certificate."""
    cause = error.certificate_error
    return str(getattr(cause, "verify_message", None) or type(cause).__name__)


def _peer_connection(request: Any, transport: Any, peer: Peer) -> PeerConnection:
    address, port = transport.get_extra_info("peername")[:2]
    return PeerConnection(
        server_name=peer.server_name,
        host=request.server_hostname or request.url.raw_host,
        address=address,
        port=port,
        certificates=presented_chain(transport.get_extra_info("ssl_object")),
    )


def _resolve_result(host: str, info: Any) -> ResolveResult:
    family, _kind, protocol, _name, sockaddr = info
    address = sockaddr[0]
    if family == socket.AF_INET6 and len(sockaddr) == 4 and sockaddr[3]:
        address = f"{address}%{sockaddr[3]}"  # a link-local address needs its interface
    return ResolveResult(
        hostname=host,
        host=address,
        port=sockaddr[1],
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
