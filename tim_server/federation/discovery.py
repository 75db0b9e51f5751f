"""Where another server is, in the order of the specification: IP literals and explicit ports, then
`.well-known/matrix/server`, then SRV records, then port 8448.

What is found is remembered: well-known files for as long as they say, within bounds; that there is none for less.
Names in the static map `hosts` are not looked up at all.

Spec: https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names
"""

import ipaddress
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Generic, TypeVar

import structlog

from tim_server.egress.client import OutgoingClient, OutgoingRequest, OutgoingResponse
from tim_server.egress.errors import GateRefused, OutgoingError
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName

DEFAULT_PORT = 8448
WELL_KNOWN_PATH = "/.well-known/matrix/server"
WELL_KNOWN_BYTES_MAX = 51_200
WELL_KNOWN_TIMEOUT_S = 10.0
WELL_KNOWN_REDIRECTS_MAX = 5
LIFETIME_S_DEFAULT, LIFETIME_S_MIN, LIFETIME_S_MAX = 24 * 3600.0, 300.0, 48 * 3600.0
LIFETIME_OF_FAILURE_S = 1800.0
LIFETIME_OF_SRV_S = 300.0
SERVICES = ("_matrix-fed._tcp", "_matrix._tcp")
"""Names of the SRV records; the second is deprecated."""
REMEMBERED_MAX = 10_000

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """How a server is reached: `https://{authority}` is asked with `host` as the Host header, and the certificate must
    be for `tls_name`."""

    authority: str
    host: str
    tls_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SrvRecord:
    """One SRV record of a name."""

    priority: int
    weight: int
    port: int
    target: str


LookUpSrv = Callable[[str], Awaitable[Sequence[SrvRecord]]]
"""The SRV records of a name, none where there are none; raises OSError where that can't be found out."""


@dataclass(slots=True)
class _Remembered(Generic[T]):
    """Values until a time, those found first dropped first."""

    now_s: Callable[[], float]
    _values: "OrderedDict[str, tuple[float, T]]" = field(default_factory=OrderedDict)

    def get(self, key: str) -> tuple[T] | None:
        known = self._values.get(key)
        return None if known is None or known[0] <= self.now_s() else (known[1],)

    def put(self, key: str, value: T, lifetime_s: float) -> None:
        self._values[key] = (self.now_s() + lifetime_s, value)
        self._values.move_to_end(key)
        if len(self._values) > REMEMBERED_MAX:
            self._values.popitem(last=False)

    def drop(self, key: str) -> None:
        self._values.pop(key, None)


class Discovery:
    """Finds servers. `mapped` are the names of the static map, lower case."""

    def __init__(
        self,
        *,
        outgoing: OutgoingClient,
        look_up_srv: LookUpSrv,
        mapped: Collection[str] = (),
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._outgoing = outgoing
        self._look_up_srv = look_up_srv
        self._mapped = mapped
        self._delegated: _Remembered[ServerName | None] = _Remembered(now_s)
        self._srv: _Remembered[SrvRecord | None] = _Remembered(now_s)

    async def locate(self, server_name: ServerName) -> Located:
        """Where the server is. Raises `GateRefused` where the trust gate refuses the server, before anything is looked
        up; what can't be found is looked for at port 8448."""
        await self._outgoing.admit(server_name)
        host, has_port = host_of(server_name)
        if has_port or is_ip_literal(host) or server_name.lower() in self._mapped:
            return _direct(server_name)
        delegated = await self._well_known(server_name)
        if delegated is None:
            return await self._by_srv(server_name)
        delegated_host, has_port = host_of(delegated)
        if has_port or is_ip_literal(delegated_host):
            return _direct(delegated)
        return await self._by_srv(delegated)

    def forget(self, server_name: ServerName) -> None:
        """The server could not be reached where it was found: look for it again. A well-known file stays."""
        delegated = self._delegated.get(server_name.lower())
        self._srv.drop((delegated[0] if delegated is not None and delegated[0] else server_name).lower())

    async def _by_srv(self, name: ServerName) -> Located:
        """By SRV records of a name without port, or at its port 8448."""
        known = self._srv.get(name.lower())
        record = known[0] if known is not None else await self._find_srv(name)
        if record is None:
            return _direct(name)
        return Located(authority=f"{record.target}:{record.port}", host=name, tls_name=name)

    async def _find_srv(self, name: ServerName) -> SrvRecord | None:
        for service in SERVICES:
            try:
                records = await self._look_up_srv(f"{service}.{name}")
            except OSError:
                return None  # not remembered: the name server may answer the next time
            if records:
                record = choose_srv(records)
                self._srv.put(name.lower(), record, LIFETIME_OF_SRV_S)
                return record
        self._srv.put(name.lower(), None, LIFETIME_OF_SRV_S)
        return None

    async def _well_known(self, server_name: ServerName) -> ServerName | None:
        """Whom the server delegates to; None where it does not, or says so in a way that counts for nothing."""
        known = self._delegated.get(server_name.lower())
        if known is not None:
            return known[0]
        request = OutgoingRequest(
            method="GET",
            url=f"https://{server_name}{WELL_KNOWN_PATH}",
            server_name=server_name,
            timeout_seconds=WELL_KNOWN_TIMEOUT_S,
            response_size_bytes_max=WELL_KNOWN_BYTES_MAX,
            redirects_max=WELL_KNOWN_REDIRECTS_MAX,
        )
        try:
            response = await self._outgoing.send(request)
        except GateRefused:
            raise
        except OutgoingError:
            response = None
        delegated = None if response is None else delegated_to(response)
        lifetime_s = LIFETIME_OF_FAILURE_S
        if response is not None and delegated is not None:
            lifetime_s = lifetime_of(response.headers, now_ts=time())
        self._delegated.put(server_name.lower(), delegated, lifetime_s)
        return delegated


def _direct(server_name: ServerName) -> Located:
    """At the port that the name has, or else 8448."""
    host, has_port = host_of(server_name)
    authority = server_name if has_port else f"{host}:{DEFAULT_PORT}"
    return Located(authority=authority, host=server_name, tls_name=host.strip("[]"))


def host_of(server_name: ServerName) -> tuple[str, bool]:
    """The host of a server name, IPv6 in brackets, and whether a port follows."""
    if server_name.startswith("["):
        literal, _, port = server_name.partition("]")
        return f"{literal}]", bool(port)
    host, colon, _ = server_name.partition(":")
    return host, bool(colon)


def is_ip_literal(host: str) -> bool:
    """Whether a host, IPv6 in brackets, is an address."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def delegated_to(response: OutgoingResponse) -> ServerName | None:
    """The server that a well-known file names; None for what is no such file."""
    if response.status != 200:
        return None
    try:
        value = decode_lenient(response.body)
        return ServerName.parse(value["m.server"])
    except (CanonicalJsonError, InvalidIdentifier, KeyError, TypeError):
        return None


def lifetime_of(headers: Mapping[str, str], *, now_ts: float) -> float:
    """For how many seconds a well-known file counts: as its headers say, within bounds.

    "Servers should respect the cache control headers present on the response, or use a sensible default", "a maximum
    value for caching of 48 hours is recommended".
    """
    wanted = LIFETIME_S_DEFAULT
    directives = [part.strip().lower() for part in headers.get("Cache-Control", "").split(",")]
    ages = [part.partition("=")[2].strip('"') for part in directives if part.startswith("max-age=")]
    if any(part in ("no-store", "no-cache") for part in directives):
        wanted = 0.0
    elif ages and ages[0].isdigit():
        wanted = float(ages[0][:9])
    elif "Expires" in headers:
        try:
            wanted = parsedate_to_datetime(headers["Expires"]).timestamp() - now_ts
        except (TypeError, ValueError):
            wanted = 0.0
    return min(max(wanted, LIFETIME_S_MIN), LIFETIME_S_MAX)


def choose_srv(records: Sequence[SrvRecord]) -> SrvRecord | None:
    """One of the records with the lowest priority, more often those with more weight; None where the service is said
    not to be offered (a target of `.`). RFC 2782."""
    lowest = min(record.priority for record in records)
    candidates = [record for record in records if record.priority == lowest and record.target not in ("", ".")]
    if not candidates:
        return None
    weights = [record.weight or 0.1 for record in candidates]
    return random.choices(candidates, weights)[0]
