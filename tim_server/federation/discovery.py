"""Where another server is, in the order of the specification: IP literals and explicit ports, then
`.well-known/matrix/server`, then SRV records, then port 8448.

Names in the static map `hosts` are not looked up at all.

Spec: https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import monotonic

from tim_server.egress.client import OutgoingClient
from tim_server.federation.srv_records import LookUpSrv, SrvRecord, SrvRecords
from tim_server.federation.well_known import WellKnownFiles
from tim_server.matrix.identifiers import ServerName

DEFAULT_PORT = 8448


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """How a server is reached: `https://{authority}` is asked with `host` as the Host header, and the certificate must
    be for `tls_name`. `record` is what led there, if it was an SRV record of that name."""

    authority: str
    host: str
    tls_name: str
    record: SrvRecord | None = None


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
        self._mapped = mapped
        self._files = WellKnownFiles(outgoing=outgoing, now_s=now_s)
        self._records = SrvRecords(look_up=look_up_srv, now_s=now_s)

    async def locate(self, server_name: ServerName) -> Located:
        """Where the server is. Raises `GateRefused` where the trust gate refuses the server, before anything is looked
        up; what can't be found is looked for at port 8448."""
        await self._outgoing.admit(server_name)
        if server_name.has_port or server_name.is_ip_literal or server_name.lower() in self._mapped:
            return _direct(server_name)
        delegated = await self._files.delegated(server_name)
        if delegated is None:
            return await self._by_srv(server_name)
        if delegated.has_port or delegated.is_ip_literal:
            return _direct(delegated)
        return await self._by_srv(delegated)

    def doubt(self, server_name: ServerName, located: Located) -> None:
        """The server could not be reached where it was found: look elsewhere the next time."""
        self._files.doubt(server_name)
        if located.record is not None:
            self._records.doubt(ServerName(located.host), located.record)

    async def _by_srv(self, name: ServerName) -> Located:
        """By SRV records of a name without port, or at its port 8448."""
        record = await self._records.best(name)
        if record is None:
            return _direct(name)
        return Located(authority=f"{record.target}:{record.port}", host=name, tls_name=name, record=record)


def _direct(server_name: ServerName) -> Located:
    """At the port that the name has, or else 8448."""
    authority = server_name if server_name.has_port else f"{server_name}:{DEFAULT_PORT}"
    return Located(authority=authority, host=server_name, tls_name=server_name.host.strip("[]"))
