"""The client for requests to other homeservers, as the configuration of federation bounds it."""

import ssl
from functools import cache
from pathlib import Path

from tim_server.config.federation import FederationSettings
from tim_server.config.load import ConfigurationError, Problem
from tim_server.egress.client import OutgoingClient, OutgoingSettings
from tim_server.egress.connector import PeerCheck
from tim_server.egress.tls import client_tls
from tim_server.egress.trust_gate import TrustGate

CONNECTIONS_MAX = 500
"""To all servers together; those that do not answer must not take what others need."""


def outgoing_client(
    federation: FederationSettings,
    gate: TrustGate | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    peer_check: PeerCheck | None = None,
) -> OutgoingClient:
    """A client that contacts whom the trust gate allows; without a gate, nobody. `tls` takes the place of what is
    configured for federation. Raises `ConfigurationError` for certificate authorities that can't be read."""
    if tls is None:
        tls = _system_tls() if federation.ca_file is None else own_tls(federation.ca_file, "federation.ca_file")
    return OutgoingClient(
        settings=OutgoingSettings(
            hosts={str(name): address for name, address in federation.hosts.items()},
            allowed_networks=federation.private_networks_allowed,
            connections_max=CONNECTIONS_MAX,
        ),
        gate=gate,
        tls=tls,
        peer_check=peer_check,
    )


@cache
def _system_tls() -> ssl.SSLContext:
    """One for the whole process: reading the system's authorities takes tens of milliseconds."""
    return client_tls()


def own_tls(ca_file: Path, key: str) -> ssl.SSLContext:
    """A context that trusts the authorities in `ca_file` only; raises `ConfigurationError`, which names the option
    `key`."""
    try:
        return client_tls(ca_files=[ca_file], use_system_cas=False)
    except (OSError, ssl.SSLError) as error:
        problem = Problem(source=str(ca_file), line=None, key=key, reason=f"cannot be used: {error}")
        raise ConfigurationError([problem]) from None
