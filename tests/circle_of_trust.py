"""Hospitals that talk to whom a signed directory lists, and the directory's server.

async with run_circle(["a.example", "b.example"], dsns, folder, others=["stranger.example"]) as circle:
    a, b = circle.hospitals
    circle.directory.publish("a.example")              # b.example is listed no more
    await circle.refresh()                             # every hospital looks now, rather than at its interval
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.certificates import DAY, NOW, Certified, make_certificate, make_crl
from tests.circle import Circle
from tests.hospitals import Network, NetworkedHospital, run_networked
from tests.ports import free_ports
from tests.trust.circle import SIGNING
from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.refresh import DirectoryRefresh
from tim_server.trust.certificates import public_key_sha256
from tim_server.trust.directory import Directory, Organisation, Pin, PinnedPart
from tim_server.trust.publication import CRL_PATH, DIRECTORY_PATH
from tim_server.trust.signed_directory import sign_directory


@dataclass
class DirectoryServer:
    """Publishes the directory and the revocation list of a circle's authority, over HTTP on loopback. While it
    `is_down`, it answers with errors. `asked` are the paths that were asked for."""

    circle: Circle
    port: int
    is_down: bool = False
    version: int = 0
    document: bytes = b""
    crl: bytes = b""
    asked: list[str] = field(default_factory=list)
    _signer: Certified = field(init=False)

    def __post_init__(self) -> None:
        self._signer = make_certificate(self.circle.authority, [], [SIGNING], common_name="signer of directories")
        self.revoke()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def publish(self, *server_names: str, **changes: Any) -> None:
        """A new version, which lists these servers and knows them by the authority that certifies them."""
        self.version += 1
        values = {"version": self.version, "issued": NOW - DAY, "expires": NOW + 30 * DAY, **changes}
        organisations = tuple(self.member(ServerName(name)) for name in server_names)
        directory = Directory(organisations=organisations, **values)
        self.document = sign_directory(directory, key=self._signer.key, certificates=self._signer.chain)

    def member(self, server_name: ServerName) -> Organisation:
        """The entry of an organisation that has this server."""
        issuer = Pin(part=PinnedPart.PUBLIC_KEY, digest=public_key_sha256(self.circle.authority.certificate))
        return Organisation(
            id=server_name.replace(":", "-"),
            name=f"Hospital {server_name}",
            kind="hospital",
            server_names=(server_name,),
            issuers=(issuer,),
        )

    def revoke(self, *certificates: Certified, **changes: Any) -> None:
        """A new revocation list, of these certificates."""
        self.crl = make_crl(self.circle.authority, certificates, **changes)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.is_down:
            return web.Response(status=503)
        documents = {DIRECTORY_PATH: self.document, CRL_PATH: self.crl}
        if request.path not in documents:
            return web.Response(status=404)
        return web.Response(body=documents[request.path])


@dataclass
class CircleOfTrust:
    """The hospitals, their network and their directory."""

    network: Network
    directory: DirectoryServer
    hospitals: tuple[NetworkedHospital, ...]
    options: Callable[[str], dict[str, Any]]
    """The section `trust` of a hospital."""

    async def refresh(self) -> None:
        """Have each hospital fetch what is published now."""
        for hospital in self.hospitals:
            await refresh_of(hospital).refresh()


def refresh_of(hospital: NetworkedHospital) -> DirectoryRefresh:
    """What keeps the hospital's directory."""
    refresh = hospital.process.homeservers[0].federation.trust.directory
    assert refresh is not None
    return refresh


def trust_options(network: Network, server: DirectoryServer, **changes: Any) -> dict[str, Any]:
    """The section `trust` of a hospital in the circle; `changes` are further options of it."""
    return {
        "profile": "directory",
        "sources": {
            "directory": {
                "urls": [server.url + DIRECTORY_PATH],
                "anchors_file": str(network.circle.ca_file),
                **changes.pop("directory", {}),
            }
        },
        "certificates": {
            "anchors_file": str(network.circle.ca_file),
            "revocation_hosts": [f"127.0.0.1:{server.port}"],
            **changes.pop("certificates", {}),
        },
        **changes,
    }


@asynccontextmanager
async def run_directory_server(folder: Path, names: Sequence[str]) -> AsyncIterator[tuple[Network, DirectoryServer]]:
    """A network for servers of these names, and the directory of its authority, which lists nobody yet."""
    (port,) = free_ports(1)
    circle = Circle(folder / "circle", crl_urls=[f"http://127.0.0.1:{port}{CRL_PATH}"])
    network = Network(circle, dict(zip(names, free_ports(len(names)), strict=True)))
    directory = DirectoryServer(circle, port)
    directory.publish()
    runner = web.ServerRunner(web.Server(directory.answer, access_log=None))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield network, directory
    finally:
        await runner.cleanup()


@asynccontextmanager
async def run_circle(
    names: Sequence[str],
    dsns: Sequence[str],
    folder: Path,
    *,
    others: Sequence[str] = (),
    options: Callable[[str, Network], Mapping[str, Any]] = lambda _name, _network: {},
    listener: Mapping[str, Any] | None = None,
) -> AsyncIterator[CircleOfTrust]:
    """Hospitals on these databases, which the directory lists. `others` are names of the network that it does not list,
    and that a test serves itself, which may be asked as identity servers besides; `options` are further options of a
    hospital's section `trust`, `listener` of its listener for other servers. The deprecated endpoints of files are
    served."""
    async with AsyncExitStack() as stack:
        network, directory = await stack.enter_async_context(run_directory_server(folder, [*names, *others]))
        directory.publish(*names)

        def trust(name: str) -> dict[str, Any]:
            return trust_options(network, directory, **options(name, network))

        hospitals = [
            await stack.enter_async_context(
                run_networked(
                    network,
                    name,
                    dsn,
                    folder / name,
                    trust=trust(name),
                    federation={"identity_servers": list(others)},
                    listener=dict(listener or {}),
                    media={"unauthenticated_downloads": True},
                )
            )
            for name, dsn in zip(names, dsns, strict=True)
        ]
        circle = CircleOfTrust(network, directory, tuple(hospitals), trust)
        await circle.refresh()
        yield circle
