"""Where the demonstration takes place: two hospitals, a server that no directory lists, and an authority; in a folder.

Ports and passwords are made by the first run and kept in `demo.json`, as certificates name the authority's port.
"""

import json
import os
import random
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tim_server.cli.failures import CommandFailed
from tim_server.matrix.identifiers import ServerName

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8008
PORTS = range(12_000, 32_000)
"""Below those that systems give to outgoing connections, which might take one while a server starts."""
PASSWORD_BYTES = 9
PORT_NAMES = (
    "authority",
    "st-mary client",
    "st-mary federation",
    "city client",
    "city federation",
    "stranger client",
    "stranger federation",
    "stranger watched",
)
ACCOUNTS = ("alice", "bob", "mallory", "it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A homeserver of the demonstration. `title` is what it is called in what is printed."""

    name: ServerName
    title: str
    folder: Path
    client_port: int
    federation_port: int

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://{ADDRESS}:{self.client_port}"

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "tim-server.yaml"

    @property
    def database_role(self) -> str:
        """Its role in the embedded PostgreSQL."""
        return self.folder.name.replace("-", "_")

    @property
    def log(self) -> Path:
        """Where its log goes, which would be in the way on the screen."""
        return self.folder / "server.log"

    @property
    def tls_files(self) -> tuple[Path, Path]:
        """Certificate and private key of its listener for other servers."""
        return self.folder / "certificate.pem", self.folder / "key.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """All of them. Other servers reach the stranger at `watched_port`, where whoever connects is counted."""

    folder: Path
    st_mary: Place
    city: Place
    stranger: Place
    authority_port: int
    watched_port: int
    passwords: Mapping[str, str]

    @property
    def all(self) -> tuple[Place, ...]:
        """The homeservers."""
        return self.st_mary, self.city, self.stranger

    @property
    def ports(self) -> tuple[int, ...]:
        """All ports that are listened on."""
        inner = (port for place in self.all for port in (place.client_port, place.federation_port))
        return (self.authority_port, self.watched_port, *inner)

    @property
    def authority_folder(self) -> Path:
        """The folder of the circle's authority."""
        return self.folder / "authority"

    @property
    def authority_url(self) -> str:
        """Where it publishes."""
        return f"http://{ADDRESS}:{self.authority_port}"

    @property
    def anchors_file(self) -> Path:
        """The authority's root certificate."""
        return self.authority_folder / "public" / "anchors.pem"

    @property
    def hosts(self) -> dict[str, str]:
        """Where servers find each other, as DNS would say."""
        ports = {place.name: place.federation_port for place in (self.st_mary, self.city)}
        ports[self.stranger.name] = self.watched_port
        return {str(name): f"{ADDRESS}:{port}" for name, port in ports.items()}


def make_places(folder: Path, *, port: int | None) -> Places:
    """Choose ports and passwords, or take those that the folder has; `port` is that of the first hospital's clients.

    Raises `CommandFailed`.
    """
    try:
        folder.mkdir(mode=folder_mode(), parents=True, exist_ok=True)
        kept = _kept(folder / "demo.json")
    except OSError as error:
        raise CommandFailed(f"{folder} cannot be written to: {error.strerror}") from None
    ports: dict[str, int] = kept["ports"]
    if port is not None:
        ports["st-mary client"] = port

    def place(name: str, title: str) -> Place:
        place_folder = folder / name
        place_folder.mkdir(mode=folder_mode(), exist_ok=True)
        return Place(
            name=ServerName(f"{name}.example"),
            title=title,
            folder=place_folder,
            client_port=ports[f"{name} client"],
            federation_port=ports[f"{name} federation"],
        )

    return Places(
        folder=folder,
        st_mary=place("st-mary", "St Mary's Hospital"),
        city=place("city", "City Hospital"),
        stranger=place("stranger", "the unlisted server"),
        authority_port=ports["authority"],
        watched_port=ports["stranger watched"],
        passwords=kept["passwords"],
    )


def write_configurations(places: Places, dsns: Mapping[str, str]) -> None:
    """Write each homeserver's configuration, with its database; readable by the owner only, as that is a secret."""
    directory = {"urls": [f"{places.authority_url}/directory.jws"], "anchors_file": str(places.anchors_file)}
    circle = {
        "trust": {
            "profile": "directory",
            "sources": {"directory": directory},
            "certificates": {
                "anchors_file": str(places.anchors_file),
                "revocation_hosts": [f"{ADDRESS}:{places.authority_port}"],
            },
        }
    }
    for place in (places.st_mary, places.city):
        _write_configuration(place, dsns[place.name], places.hosts, circle)
    trusting = {"ca_file": str(places.anchors_file)}
    _write_configuration(places.stranger, dsns[places.stranger.name], places.hosts, {"federation": trusting})


def _write_configuration(place: Place, dsn: str, hosts: Mapping[str, str], more: Mapping[str, Any]) -> None:
    certificate, key = (str(file) for file in place.tls_files)
    value = {
        "server_name": str(place.name),
        "data_dir": ".",
        "listeners": [
            {"address": ADDRESS, "port": place.client_port, "resources": ["client"]},
            {
                "address": ADDRESS,
                "port": place.federation_port,
                "resources": ["federation"],
                "tls": {"certificate": certificate, "private_key": key},
            },
        ],
        "database": {"dsn": dsn},
        # on loopback, for a demonstration: whoever reaches the server may register
        "registration": {"enabled": True, "requires_token": False},
        "observability": {"log_format": "console"},
        **more,
        "federation": {"hosts": dict(hosts), **more.get("federation", {})},
    }
    heading = "# Made by tim-server demo, which runs the PostgreSQL that it names.\n"
    write_private(place.config, heading + yaml.safe_dump(value, sort_keys=False))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from None


def _kept(path: Path) -> dict[str, Any]:
    if path.exists():
        return _read(path)
    made = {
        "ports": _free_ports(),
        "passwords": {person: secrets.token_urlsafe(PASSWORD_BYTES) for person in ACCOUNTS},
    }
    write_private(path, json.dumps(made, indent=2))
    return made


def _read(path: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
        is_whole = set(kept["ports"]) == set(PORT_NAMES) and set(kept["passwords"]) == set(ACCOUNTS)
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise CommandFailed(f"{path} is of another release, or damaged: name another --data-dir")
    return kept


def _free_ports() -> dict[str, int]:
    """Ports that are free now; the first hospital's clients get the usual one if they can."""
    while True:
        first = random.choice(PORTS[: -len(PORT_NAMES)])
        ports = dict(zip(PORT_NAMES, range(first, first + len(PORT_NAMES)), strict=True))
        if all(map(_is_free, ports.values())):
            break
    if _is_free(DEFAULT_PORT):
        ports["st-mary client"] = DEFAULT_PORT
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def folder_mode() -> int:
    """PostgreSQL, which never runs as root, must get through a folder of root."""
    return 0o711 if os.geteuid() == 0 else 0o700
