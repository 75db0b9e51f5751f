"""Connect only to addresses that the policy allows, whatever a name resolves to at that moment.

The check stands where sockets are made, so nothing gets past it: names, literal addresses, redirects, and names that
resolve differently the second time.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tim_server.egress.addresses import AddressPolicy
from tim_server.egress.errors import AddressRefused, ContactRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnection:
    """A connection just made, before anything is sent over it."""

    host: str
    address: str
    port: int
    certificate: bytes | None
    """The peer's certificate, DER; None without TLS."""


PeerCheck = Callable[[PeerConnection], Awaitable[None]]
"""Inspects each new connection; raises ContactRefused to close it unused."""


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
        self._mapped = frozenset(self._hosts.values())

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
        loop = asyncio.get_running_loop()
        try:
            infos = await loop.getaddrinfo(address, port, type=socket.SOCK_STREAM, family=family)
        except UnicodeError:  # not even the form of a name, such as two dots in a row
            raise OSError(f"{host} is not a host name") from None
        results = [_resolve_result(host, info) for info in infos]
        allowed = [found for found in results if mapped is not None or self.may_connect(found["host"], port)]
        if not allowed:
            raise AddressRefused(f"{host} has no address that may be connected to")
        return allowed

    async def close(self) -> None:
        """Nothing to close."""


class CheckedConnector(aiohttp.TCPConnector):
    """aiohttp's connector with the policy at the socket, and a check of each new connection before it is used."""

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

    async def _wrap_create_connection(self, *args: Any, req: Any, **kwargs: Any) -> Any:
        transport, protocol = await super()._wrap_create_connection(*args, req=req, **kwargs)
        if self._peer_check is not None:
            try:
                await self._peer_check(_peer_connection(req, transport))
            except ContactRefused:
                transport.abort()
                raise
        return transport, protocol


def _peer_connection(request: Any, transport: asyncio.Transport) -> PeerConnection:
    address, port = transport.get_extra_info("peername")[:2]
    secured = transport.get_extra_info("ssl_object")
    return PeerConnection(
        host=request.server_hostname or request.url.host,
        address=address,
        port=port,
        certificate=None if secured is None else secured.getpeercert(binary_form=True),
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
