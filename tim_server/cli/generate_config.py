"""`tim-server generate-config`: a configuration that `serve` runs unchanged."""

from pathlib import Path

import yaml

from tim_server.cli.failures import CommandFailed
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName

_TEMPLATE = """\
# Configuration of tim-server for {server_name}. What is not here has a default; all options with their defaults:
# tim-server generate-config --all-options

# The part of user ids after the colon. It cannot be changed later.
server_name: {server_name}

# Keys, and a PostgreSQL of our own. For another PostgreSQL see database.dsn.
data_dir: {data_dir}

listeners:
  # Plain HTTP, for clients on this machine or for a reverse proxy that speaks TLS.
  - address: 127.0.0.1
    port: {port}
    resources: [client, federation]
  # /health, /ready and /metrics.
  - address: 127.0.0.1
    port: {health_port}
    resources: [health, metrics]

registration:
  # Accounts are made with: tim-server user create --config FILE NAME
  enabled: false
"""


def generate_config(*, server_name: str, data_dir: Path, port: int, health_port: int) -> str:
    """The text of the configuration; raises `CommandFailed` for a name that no server can have."""
    try:
        name = ServerName.parse(server_name)
    except InvalidIdentifier:
        raise CommandFailed(f"{server_name!r} is not a server name such as hospital.example") from None
    return _TEMPLATE.format(
        server_name=_quoted(name), data_dir=_quoted(str(data_dir.absolute())), port=port, health_port=health_port
    )


def _quoted(value: str) -> str:
    """`value` as one YAML scalar, in quotes where it would be read as something else."""
    return yaml.safe_dump(str(value), default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
