"""Where another server is.

Spec: https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names
"""

from dataclasses import dataclass

from tim_server.matrix.identifiers import ServerName

DEFAULT_PORT = 8448


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """How a server is reached: `https://{authority}` is asked with `host` as the Host header, and the certificate must
    be for `tls_name`."""

    authority: str
    host: str
    tls_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Finds servers."""

    async def locate(self, server_name: ServerName) -> Located:
        """Where the server is; raises what `egress` raises."""
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
