"""Who is behind the reverse proxy: forwarded addresses count only where configured networks vouch for them.

Read from the right: each proxy adds the address that it was called from, so the right-most address that is not a
trusted proxy is the client. What stands left of it was written by the client and is not believed. Of the two kinds of
headers only the one that the proxies write is read: the other they may hand on as the client wrote it.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from multidict import MultiMapping

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from. `is_proxied`: a trusted proxy handed it on, so its X-Request-ID may be kept."""

    address: str
    scheme: str
    is_proxied: bool


class TrustedProxies:
    """Reads forwarding headers of the networks given; of a unix socket's peer too, as only a local proxy has that."""

    __slots__ = ("_is_trusted", "_networks", "_reads_forwarded")

    def __init__(self, networks: Iterable[str], *, reads_forwarded: bool = False) -> None:
        """`reads_forwarded`: the proxies write `Forwarded` (RFC 7239) instead of `X-Forwarded-For` and `-Proto`."""
        self._reads_forwarded = reads_forwarded
        self._networks: tuple[IpNetwork, ...] = tuple(ipaddress.ip_network(network) for network in networks)
        self._is_trusted = lru_cache(maxsize=4096)(self._is_in_networks)

    def origin(self, peer: str, headers: MultiMapping[str], *, is_tls: bool) -> Origin:
        """The origin of a request from `peer` (an IP address, empty for a unix socket)."""
        scheme = "https" if is_tls else "http"
        if peer and not self._is_trusted(peer):
            return Origin(peer, scheme, False)
        if self._reads_forwarded:
            hops, schemes = _read_forwarded(_joined(headers, "Forwarded"))
        else:
            hops = [part.strip() for part in _joined(headers, "X-Forwarded-For").split(",")]
            schemes = [part.strip() for part in _joined(headers, "X-Forwarded-Proto").split(",")]
        forwarded_scheme = schemes[-1].lower() if schemes else ""
        return Origin(
            self._rightmost_untrusted(peer, hops),
            forwarded_scheme if forwarded_scheme in ("http", "https") else scheme,
            True,
        )

    def _rightmost_untrusted(self, peer: str, hops: list[str]) -> str:
        client = peer
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            client = str(address)
            if not self._is_trusted(client):
                break
        return client

    def _is_in_networks(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)


def _joined(headers: MultiMapping[str], name: str) -> str:
    """All lines of a header as one: a proxy may add a line instead of extending the client's."""
    return ",".join(headers.getall(name, []))


def _address(text: str) -> IpAddress | None:
    """An address, which may have a port or a zone; an IPv4-mapped one as IPv4."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _read_forwarded(value: str) -> tuple[list[str], list[str]]:
    """The `for` and `proto` values of an RFC 7239 header, in order; a hop without `for` is an empty one.

    Commas separate hops whatever stands in quotes: no address has one, and a quote that the client leaves open must
    not swallow what the proxy adds.
    """
    hops: list[str] = []
    schemes: list[str] = []
    for element in value.split(","):
        pairs = {name.strip().lower(): text.strip(' \t"') for name, _, text in map(_partition, element.split(";"))}
        hops.append(pairs.get("for", ""))
        if "proto" in pairs:
            schemes.append(pairs["proto"])
    return hops, schemes


def _partition(pair: str) -> tuple[str, str, str]:
    return pair.partition("=")
