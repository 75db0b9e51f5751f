"""Hospitals found a circle of trust with the command line alone, and talk in it until the authority says otherwise."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import TlsFiles
from tests.circle_of_trust import refresh_of
from tests.cli.test_commands import invoke
from tests.eventually import eventually
from tests.hospitals import Network, NetworkedHospital, run_networked
from tests.people import Person
from tests.ports import free_ports
from tim_server.cli.trust_authority_serve import Publisher
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.trust.publication import DIRECTORY_PATH
from tim_server.web.authority_pages import AuthorityPages
from tim_server.web.connection import HttpServer

NAMES = ["a.example", "b.example", "c.example"]


@dataclass
class FoundedCircle:
    """An authority's folder, and what tests need of a circle: anchors, and the certificates that it issues."""

    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "public" / "anchors.pem"

    def run(self, command: str, *arguments: str) -> None:
        result = invoke("trust", "authority", command, "--folder", self.folder, *arguments)
        assert result.exit_code == 0, result.output

    def tls_files(self, server_name: str) -> TlsFiles:
        place = self.folder / "members" / server_name
        return TlsFiles(place / "certificate.pem", place / "key.pem")


@dataclass
class Site:
    """The circle and its hospitals; `publisher` serves what the authority signs."""

    circle: FoundedCircle
    publisher: Publisher
    hospitals: tuple[NetworkedHospital, ...]

    async def sign(self) -> None:
        """The authority signs, and each hospital looks."""
        await asyncio.to_thread(self.circle.run, "sign")
        await self.publish()

    async def publish(self) -> None:
        await self.publisher.publish()
        for hospital in self.hospitals:
            trust = hospital.process.homeservers[0].federation.trust
            await refresh_of(hospital).refresh()
            assert trust.sources is not None
            await trust.sources.lists.refresh(pause_ms=0)


@asynccontextmanager
async def serving(folder: AuthorityFolder, port: int) -> AsyncIterator[Publisher]:
    pages = AuthorityPages()
    publisher = Publisher(folder=folder, pages=pages)
    await publisher.publish()
    server = HttpServer(pages.answer, connections_max=100)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
    try:
        yield publisher
    finally:
        listening.close()
        server.pre_shutdown()
        await server.shutdown(1)


@pytest.fixture(scope="module")
async def site(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Hospitals a.example and b.example are members; c.example was added, but this is not signed yet."""
    folder = tmp_path_factory.mktemp("founded")
    port, *ports = free_ports(1 + len(NAMES))
    circle = FoundedCircle(folder / "authority")
    circle.run("init", "--name", "Hospitals of the North", "--url", f"http://127.0.0.1:{port}")
    for name in NAMES[:2]:
        circle.run("add", "--name", f"Hospital {name}", "--issue", name)
    circle.run("sign")
    circle.run("add", "--name", "Hospital c", "--issue", NAMES[2])
    network = Network(circle, dict(zip(NAMES, ports, strict=True)))  # type: ignore[arg-type]
    anchors = str(circle.ca_file)
    source = {"urls": [f"http://127.0.0.1:{port}{DIRECTORY_PATH}"], "anchors_file": anchors}
    trust = {
        "profile": "directory",
        "sources": {"directory": source},
        "certificates": {"anchors_file": anchors, "revocation_hosts": [f"127.0.0.1:{port}"]},
    }
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(serving(AuthorityFolder(circle.folder), port))
        hospitals = [
            await stack.enter_async_context(
                run_networked(network, name, await make_tenant_dsn(), folder / name, trust=trust)
            )
            for name in NAMES
        ]
        site = Site(circle, publisher, tuple(hospitals))
        await site.publish()
        yield site


async def invited(inviter: Person, invitee: Person) -> str:
    """A room of the inviter that the other has joined."""
    room_id = await inviter.create_room(invite=[invitee.user_id])
    await eventually(invitee.sync_now, lambda told: room_id in told.get("rooms", {}).get("invite", {}))
    await invitee.join(room_id, inviter.user_id.partition(":")[2])
    return room_id


async def test_members_of_a_founded_circle_talk_until_the_authority_says_otherwise(site: Site) -> None:
    a, b, c = site.hospitals
    alice, bob, carol = await a.person("alice"), await b.person("bob"), await c.person("carol")

    room_id = await invited(alice, bob)
    await alice.say(room_id, "from a")
    await bob.say(room_id, "from b")
    for person in (alice, bob):
        await eventually(lambda person=person: person.bodies(room_id), lambda said: {"from a", "from b"} <= set(said))

    await alice.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/invite", {"user_id": carol.user_id})
    await carol.refused(403, "M_FORBIDDEN", "POST", "createRoom", {"invite": [alice.user_id]})  # says a.example
    await site.sign()
    third = await invited(alice, carol)
    await carol.say(third, "from c")
    await eventually(lambda: alice.bodies(third), lambda said: "from c" in said)

    await asyncio.to_thread(site.circle.run, "revoke", "c.example")  # at once, without signing
    await site.publish()
    await carol.say(third, "after the revocation")
    await alice.say(third, "nobody at c hears this")

    await asyncio.to_thread(site.circle.run, "remove", "b.example")
    await site.sign()
    await alice.refused(403, "M_FORBIDDEN", "GET", f"profile/{bob.user_id}")
    await bob.say(room_id, "after the removal")
    await asyncio.sleep(1)
    assert "after the removal" not in await alice.bodies(room_id)
    assert "after the revocation" not in await alice.bodies(third)
    assert "nobody at c hears this" not in await carol.bodies(third)
