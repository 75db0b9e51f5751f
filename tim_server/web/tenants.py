"""Which homeserver a request is for: by its Host header, or the only one there is."""

from collections.abc import Awaitable, Mapping
from typing import Protocol

from tim_server.matrix.errors import Unrecognized
from tim_server.services.accounts.requester import Requester


class Authenticator(Protocol):
    """What the edge needs in order to know who asks."""

    def requester(self, token: str, /, *, locked_ok: bool = False) -> Awaitable[Requester]:
        """The account and device that `token` stands for; raises UnknownToken, UserLocked unless `locked_ok`, and other
        MatrixErrors."""
        ...


class Tenant(Protocol):
    """What the edge knows of a homeserver; endpoints get it as it is."""

    @property
    def authenticator(self) -> Authenticator:
        """Tells whose token a request carries."""
        ...


class Tenants:
    """Homeservers by host name. A single one answers to any name; of several, each to its own names only."""

    __slots__ = ("_by_host", "_single")

    def __init__(self, by_host: Mapping[str, Tenant]) -> None:
        if not by_host:
            raise ValueError("there must be a tenant")
        self._by_host = {host.lower(): tenant for host, tenant in by_host.items()}
        distinct = {id(tenant): tenant for tenant in by_host.values()}
        self._single = next(iter(distinct.values())) if len(distinct) == 1 else None

    def of(self, host: str) -> Tenant:
        """The homeserver for a Host header, with or without its port; raises Unrecognized."""
        if self._single is not None:
            return self._single
        host = host.lower()
        tenant = self._by_host.get(host)
        if tenant is None:
            name, colon, port = host.rpartition(":")
            tenant = self._by_host.get(name if colon and port.isdigit() else host.rstrip("."))
        if tenant is None:
            raise Unrecognized("This server is not known here")
        return tenant
