"""Names of the tests' own: web servers over real TLS on loopback, and SRV records; and what was asked of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.certificates import make_certificate
from tests.circle import Circle
from tests.conftest import Neighbourhood
from tests.federation.rings import Ring, new_ring
from tests.peer import make_author
from tests.ports import free_ports
from tim_server.egress.client import OutgoingClient, OutgoingSettings
from tim_server.egress.tls import client_tls
from tim_server.federation.client import FederationClient
from tim_server.federation.discovery import Discovery, Located
from tim_server.federation.server_health import ServerHealth
from tim_server.federation.srv_records import SrvRecord
from tim_server.matrix.identifiers import ServerName
from tim_server.trust.verdict import Verdict

WELL_KNOWN = "/.well-known/matrix/server"
NAME = ServerName("hospital.example")
CERTIFIED = (NAME, "elsewhere.example", "matrix.example")
SERVED = (
    *(f"{name}:443" for name in (NAME, "elsewhere.example")),
    *(f"{name}:8448" for name in (NAME, "matrix.example")),
    "machine.example:99",
    "bad.example:1",
)
CLOSED = "127.0.0.1:9"


@dataclass
class Surroundings:
    """The names that there are: web servers by name and path, SRV records (`failing`: no name server answers); and what
    was asked of them. A page is a response, or a coroutine function of the request. All is served at `port`."""

    client: FederationClient
    now: list[float]
    port: int
    pages: dict[tuple[str, str], Any] = field(default_factory=dict)
    records: dict[str, list[SrvRecord]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    requests: list[web.BaseRequest] = field(default_factory=list)

    @property
    def discovery(self) -> Discovery:
        return self.client.discovery

    async def locate(self, name: str = NAME) -> Located:
        return await self.discovery.locate(ServerName(name))

    def delegate(self, to: Any, **headers: str) -> None:
        """Have the well-known file say so."""
        self.pages[NAME, WELL_KNOWN] = web.json_response({"m.server": to}, headers=headers)


@pytest.fixture
async def surroundings(tmp_path: Path) -> AsyncIterator[Surroundings]:
    circle, (port,) = Circle(tmp_path), free_ports(1)
    now = [0.0]

    class Gate:
        async def may_contact(self, server_name: ServerName, /) -> Verdict:
            return Verdict(is_allowed=server_name not in made.refused, reason="not listed")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        made.asked.append(f"{request.host}{request.path}")
        made.requests.append(request)
        page = made.pages.get((request.host, request.path))
        if page is None:
            return web.Response(status=404)
        if callable(page):
            return await page(request)  # type: ignore[no-any-return]
        return web.Response(status=page.status, body=page.body, headers=page.headers)

    async def look_up(name: str) -> list[SrvRecord]:
        made.asked.append(name)
        if "failing" in made.records:
            raise OSError("no name server")
        return made.records.get(name, [])

    hosts = {name: f"127.0.0.1:{port}" for name in SERVED} | {"dead.example": CLOSED, "stolen.example": CLOSED}
    outgoing = OutgoingClient(
        settings=OutgoingSettings(hosts=hosts),
        gate=Gate(),
        tls=client_tls(ca_files=[circle.ca_file], use_system_cas=False),
    )
    discovery = Discovery(outgoing=outgoing, look_up_srv=look_up, mapped={"mapped.example"}, now_s=lambda: now[0])
    author = make_author("here.example")
    health = ServerHealth(now_s=lambda: now[0])
    client = FederationClient(author=author, outgoing=outgoing, discovery=discovery, health=health)
    made = Surroundings(client, now, port)
    context = circle.server_context(NAME, make_certificate(circle.authority, CERTIFIED))
    listening = await asyncio.get_running_loop().create_server(
        web.Server(answer, access_log=None),  # type: ignore[arg-type]
        "127.0.0.1",
        port,
        ssl=context,
    )
    yield made
    listening.close()
    await outgoing.close()


@pytest.fixture
async def ring(neighbourhood: Neighbourhood) -> Ring:
    """A key ring of `a.example` that knows nothing, and the peer whose keys it asks for."""
    async with neighbourhood.a.process.homeservers[0].store.database.transaction() as tx:
        await tx.execute("DELETE FROM server_keys")
        await tx.execute("DELETE FROM server_key_documents")
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()
    neighbourhood.a.process.homeservers[0].federation.client.health.heard_from(neighbourhood.peer.name)
    now = [time.time_ns() // 1_000_000]
    return Ring(new_ring(neighbourhood, now), neighbourhood.peer, now)
