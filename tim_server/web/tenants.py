"""Which homeserver a request is for: by its Host header, or the only one there is."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tim_server.matrix.errors import Unrecognized
from tim_server.matrix.identifiers import ServerName
from tim_server.services.accounts.requester import Requester
from tim_server.services.servers.authenticate import Admitted
from tim_server.web.rate_limits import RateLimits


class Authenticator(Protocol):
    """What the edge needs in order to know who asks."""

    def requester(self, token: str, /, *, locked_ok: bool = False) -> Awaitable[Requester]:
        """The account and device that `token` stands for; raises UnknownToken, UserLocked unless `locked_ok`, and other
        MatrixErrors."""
        ...


class ServerAuthenticator(Protocol):
    """What the edge needs in order to know which server asks."""

    @property
    def admits_strangers(self) -> bool:
        """Whether any server may be talked to, so that who asks need not be known for what anybody may know."""
        ...

    def admit(self, authorization: Sequence[str], certificates: Sequence[bytes], /) -> Awaitable[Admitted]:
        """What the headers say; raises Unauthorized, or Forbidden for a server that this one does not talk to.
        `certificates` (DER) are what the client has presented, its own first."""
        ...

    def verify(self, admitted: Admitted, /, *, method: str, uri: str, content: bytes | None) -> ServerName:
        """The server whose signature over the request is verified; raises Unauthorized."""
        ...


class Tenant(Protocol):
    """What the edge knows of a homeserver; endpoints get it as it is."""

    @property
    def authenticator(self) -> Authenticator:
        """Tells whose token a request carries."""
        ...

    @property
    def server_authenticator(self) -> ServerAuthenticator:
        """Tells which server has signed a request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedTenant:
    """A homeserver, the names that requests for it may have as Host, and what its operator chose for them.

    `accept_query_tokens` and `serve_r0` are compatibility switches for old clients.
    """

    homeserver: Tenant
    host_names: Sequence[str]
    rate_limits: RateLimits = field(default_factory=lambda: RateLimits({}))
    accept_query_tokens: bool = False
    serve_r0: bool = False


class Tenants:
    """Homeservers by host name. A single one answers to any name; of several, each to its own names only.

    Raises ValueError where there is none, or two have the same name.
    """

    __slots__ = ("_by_host", "_single")

    def __init__(self, hosted: Sequence[HostedTenant]) -> None:
        if not hosted:
            raise ValueError("there must be a tenant")
        self._by_host: dict[str, HostedTenant] = {}
        for tenant in hosted:
            for name in tenant.host_names:
                if self._by_host.setdefault(name.lower(), tenant) is not tenant:
                    raise ValueError(f"two tenants have the host name {name}")
        self._single = hosted[0] if len(hosted) == 1 else None

    def of(self, host: str, destination: str = "") -> HostedTenant:
        """The homeserver for a Host header, with or without its port; raises Unrecognized. `destination` is the server
        that another one says its request is for: it counts before the host, which may be what several are behind."""
        if self._single is not None:
            return self._single
        named = self._by_host.get(destination.lower())
        if named is not None:
            return named
        host = host.lower()
        tenant = self._by_host.get(host)
        if tenant is None:
            name, colon, port = host.rpartition(":")
            tenant = self._by_host.get(name if colon and port.isdigit() else host.rstrip("."))
        if tenant is None:
            raise Unrecognized("This server is not known here")
        return tenant
