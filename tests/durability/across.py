"""Servers as operators run them, which find each other on loopback."""

from typing import Any

from tests.durability.site import Site
from tests.hospitals import Network


def config_in(network: Network, name: str, site: Site) -> dict[str, Any]:
    """The configuration of a homeserver in the network; registration is as the environment says."""
    files = network.circle.tls_files(name)
    return {
        "server_name": name,
        "data_dir": str(site.folder / "data"),
        "listeners": [
            {"port": site.port},
            {
                "port": network.ports[name],
                "resources": ["federation"],
                "tls": {"certificate": str(files.certificate), "private_key": str(files.private_key)},
            },
            {"port": site.health_port, "resources": ["health", "metrics"]},
        ],
        "presence": {"enabled": False},
        "federation": {"hosts": network.hosts, "ca_file": str(network.circle.ca_file)},
    }
