"""Documents from hosts that the operator has named: directories, revocation lists, OCSP responses.

They are signed, and believed for their signatures only. The gate is not asked: a named host is an exact endpoint, at
any address, over plain HTTP too. Redirects are not followed.
"""

import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from yarl import URL

from tim_server.egress.client import OutgoingClient, OutgoingRequest, OutgoingSettings
from tim_server.egress.errors import ContactRefused, ResponseRefused

TIMEOUT_S = 30.0
CONNECTIONS_PER_HOST_MAX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFetcher:
    """Asks `hosts` (`host` for any port, or `host:port`) and nobody else; `tls` None: the system's authorities."""

    hosts: frozenset[str]
    tls: ssl.SSLContext | None = None
    _clients: dict[str, OutgoingClient] = field(default_factory=dict)

    async def get(self, url: str, *, size_bytes_max: int, nothing_newer: Collection[int] = ()) -> bytes | None:
        """The document at `url`; None where the status is one of `nothing_newer`. Raises OutgoingErrors, also for any
        other status than 200."""
        request = OutgoingRequest(
            method="GET", url=url, timeout_seconds=TIMEOUT_S, response_size_bytes_max=size_bytes_max
        )
        return await self._ask(request, nothing_newer)

    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str], size_bytes_max: int) -> bytes:
        """The answer to a POST; raises OutgoingErrors, also for any other status than 200."""
        request = OutgoingRequest(
            method="POST",
            url=url,
            headers=headers,
            body=body,
            timeout_seconds=TIMEOUT_S,
            response_size_bytes_max=size_bytes_max,
        )
        answer = await self._ask(request, ())
        assert answer is not None
        return answer

    def may_ask(self, url: str) -> bool:
        """Whether `url` leads to one of the hosts."""
        try:
            endpoint = endpoint_of(url)
        except ContactRefused:
            return False
        return endpoint in self.hosts or endpoint.rpartition(":")[0] in self.hosts

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()

    async def _ask(self, request: OutgoingRequest, nothing_newer: Collection[int]) -> bytes | None:
        answer = await self._client(request.url).send(request)
        if answer.status in nothing_newer:
            return None
        if answer.status != 200:
            raise ResponseRefused(f"{URL(request.url).raw_host} answered with {answer.status}")
        return answer.body

    def _client(self, url: str) -> OutgoingClient:
        endpoint = endpoint_of(url)
        if not self.may_ask(url):
            raise ContactRefused(f"{endpoint} is not one of the configured hosts")
        if endpoint not in self._clients:
            settings = OutgoingSettings(endpoint=endpoint, connections_per_host_max=CONNECTIONS_PER_HOST_MAX)
            self._clients[endpoint] = OutgoingClient(settings=settings, tls=self.tls)
        return self._clients[endpoint]


def endpoint_of(url: str) -> str:
    """The `host:port` that a URL leads to; raises ContactRefused for what is none."""
    try:
        parsed = URL(url)
        host, port = parsed.raw_host, parsed.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise ContactRefused("not a URL that may be asked")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
