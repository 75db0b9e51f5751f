"""Web pages that users refer to. They are not other servers, and the trust gate has no word on them: which hosts may be
asked is the operator's decision. Always over TLS; each redirect is checked as the first address is.

What users refer to is content: errors that leave here name neither addresses nor hosts.
"""

import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from yarl import URL

from tim_server.egress.client import OutgoingClient, OutgoingRequest, OutgoingSettings
from tim_server.egress.errors import OutgoingError
from tim_server.matrix.identifiers import ServerName
from tim_server.trust.verdict import Verdict

ADDRESS_LENGTH_MAX = 2_048
REDIRECTS_MAX = 5
CONNECTIONS_PER_HOST_MAX = 4
HTTPS_PORT = 443
_UNBOUNDED = 2**62
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]+))?")


class NotAWebAddress(ValueError):
    """This is not the address of a web page."""


class PageUnavailable(Exception):
    """The page could not be had, or must not be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRules:
    """Which hosts may be asked, with those below them, and at which ports. No `hosts_allowed`: all but the denied."""

    hosts_allowed: frozenset[str] = frozenset()
    hosts_denied: frozenset[str] = frozenset()
    ports_allowed: frozenset[int] = frozenset({HTTPS_PORT})

    async def may_contact(self, server_name: ServerName, /) -> Verdict:
        """Whether to ask this host, and port."""
        match = _HOST_AND_PORT.fullmatch(server_name)
        assert match is not None, "the grammar of server names"
        host, port = match[1].lower().rstrip("."), int(match[2] or HTTPS_PORT)
        is_allowed = (
            port in self.ports_allowed
            and not _is_among(host, self.hosts_denied)
            and (not self.hosts_allowed or _is_among(host, self.hosts_allowed))
        )
        return Verdict(is_allowed=is_allowed, reason="as the configuration of previews says")


def _is_among(host: str, hosts: frozenset[str]) -> bool:
    """Whether it is one of them, or below one."""
    labels = host.split(".")
    return any(".".join(labels[start:]) in hosts for start in range(len(labels)))


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPage:
    """A page, or a picture, that arrives. `url` is where it was in the end; `content_type` is what is said of it."""

    url: str
    content_type: str
    chunks: AsyncIterator[bytes]

    async def beginning(self, size_bytes: int) -> bytes:
        """So many bytes of it, or all there are; raises `PageUnavailable`."""
        arrived = bytearray()
        with _unavailable_told():
            async for chunk in self.chunks:
                arrived += chunk
                if len(arrived) >= size_bytes:
                    break
        return bytes(arrived[:size_bytes])


@contextmanager
def _unavailable_told() -> Iterator[None]:
    """Turn what `egress` raises into what tells nothing."""
    try:
        yield
    except OutgoingError:
        raise PageUnavailable from None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPages:
    """Fetches pages."""

    client: OutgoingClient
    timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def open(self, address: str) -> AsyncIterator[WebPage]:
        """The page at what `web_address` gave; raises `PageUnavailable`, also for any other status than 200."""
        request = OutgoingRequest(
            method="GET",
            url=address,
            headers=self.headers,
            timeout_seconds=self.timeout_s,
            response_size_bytes_max=_UNBOUNDED,  # who reads decides
            redirects_max=REDIRECTS_MAX,
        )
        with _unavailable_told():
            async with self.client.stream(request) as response:
                if response.status != 200:
                    raise PageUnavailable
                content_type = response.headers.get("Content-Type", "")
                yield WebPage(url=response.url, content_type=content_type, chunks=response.chunks)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


def web_pages(
    rules: PageRules, *, timeout_s: float, private_networks_allowed: tuple[str, ...], tls: ssl.SSLContext | None
) -> WebPages:
    """What fetches pages of hosts that the rules allow, at public addresses and in these networks."""
    settings = OutgoingSettings(
        allowed_networks=private_networks_allowed, connections_per_host_max=CONNECTIONS_PER_HOST_MAX
    )
    client = OutgoingClient(settings=settings, gate=rules, tls=tls)
    return WebPages(client=client, timeout_s=timeout_s, headers={"Accept": "text/html, application/xhtml+xml, image/*"})


def web_address(text: str) -> str:
    """The address in a form in which equal ones are equal, without what leads to a place within the page, and with TLS
    where it was without; raises `NotAWebAddress`."""
    if len(text) > ADDRESS_LENGTH_MAX:
        raise NotAWebAddress
    try:
        url = URL(text)
        port, is_plain = url.explicit_port, url.scheme == "http"
        if url.scheme not in ("http", "https") or not url.raw_host or url.user is not None or url.password is not None:
            raise NotAWebAddress
        if is_plain:
            url = url.with_scheme("https").with_port(None if port == 80 else port)
        return str(url.with_fragment(None))
    except (ValueError, TypeError):
        raise NotAWebAddress from None
