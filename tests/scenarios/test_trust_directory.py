"""Two hospitals that a signed directory lists, a server that it does not, and what becomes of them as it changes."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.circle_of_trust import CircleOfTrust, run_circle, trust_options
from tests.eventually import eventually
from tests.hospitals import NetworkedHospital, run_networked
from tests.peer import Peer, run_peer
from tests.shared_rooms import share_room
from tim_server.egress.errors import ContactRefused
from tim_server.matrix.identifiers import ServerName
from tim_server.storage.destinations import find_failing

VERSION = "/_matrix/federation/v1/version"


@pytest.fixture(scope="module")
async def circle(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CircleOfTrust]:
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    folder = tmp_path_factory.mktemp("circle")
    others = ["peer.example", "stranger.example"]
    async with run_circle(["a.example", "b.example"], dsns, folder, others=others) as circle:
        yield circle


@pytest.fixture(scope="module")
async def stranger(circle: CircleOfTrust) -> AsyncIterator[Peer]:
    async with run_peer(circle.network, "stranger.example") as peer:
        yield peer


async def ask(asking: NetworkedHospital, asked: str) -> str:
    """What the hospital is told of another server's software."""
    federation = asking.process.homeservers[0].federation
    answer = await federation.client.get(ServerName(asked), VERSION)
    return str(answer["server"]["name"])


async def test_listed_hospitals_talk(circle: CircleOfTrust) -> None:
    a, b = circle.hospitals
    assert (await ask(a, "b.example"), await ask(b, "a.example")) == ("tim-server", "tim-server")


async def test_a_stranger_is_refused_before_anything_is_asked_of_it(circle: CircleOfTrust, stranger: Peer) -> None:
    status, answer = await stranger.ask("a.example", "GET", VERSION)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert stranger.requests == []  # not even its keys


async def test_nothing_leaves_for_a_stranger(circle: CircleOfTrust, stranger: Peer) -> None:
    with pytest.raises(ContactRefused, match="no directory lists"):
        await ask(circle.hospitals[0], "stranger.example")
    assert stranger.requests == []


async def test_who_is_listed_no_more_is_cut_off(circle: CircleOfTrust) -> None:
    async with run_peer(circle.network, "peer.example") as peer:
        peer.answers["GET", VERSION] = {"server": {"name": "peer"}}
        circle.directory.publish("a.example", "b.example", "peer.example")
        await circle.refresh()
        a = circle.hospitals[0]
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 200
        assert await ask(a, "peer.example") == "peer"
        circle.directory.publish("a.example", "b.example")
        await circle.refresh()
        count = len(peer.requests)
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 403
        with pytest.raises(ContactRefused):
            await ask(a, "peer.example")
        assert len(peer.requests) == count


async def test_what_a_server_missed_while_it_was_not_listed_is_sent_once_it_is_again(circle: CircleOfTrust) -> None:
    async with run_peer(circle.network, "peer.example") as peer:
        peer.answers["PUT", "/_matrix/federation/v1/send/*"] = {"pdus": {}}
        circle.directory.publish("a.example", "b.example", "peer.example")
        await circle.refresh()
        room = await share_room(circle.hospitals[0], peer)
        circle.directory.publish("a.example", "b.example")
        await circle.refresh()
        await room.alice.say(room.room_id, "while you were away")
        await eventually(lambda: failing(circle), lambda servers: "peer.example" in servers)
        assert "while you were away" not in str(peer.requests)
        circle.directory.publish("a.example", "b.example", "peer.example")
        await circle.refresh()

        async def sent() -> bool:
            return "while you were away" in str([asked.body for asked in peer.requests])

        await eventually(sent)


async def failing(circle: CircleOfTrust) -> list[ServerName]:
    """The servers to which a.example has failed to send."""
    async with circle.hospitals[0].process.homeservers[0].store.database.connection() as connection:
        return list(await find_failing(connection))


async def test_changes_are_noticed_within_the_interval_and_by_every_process(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One process looks each second. The other one looks once an hour, but hears of what the first has found."""
    dsn, folder = await make_tenant_dsn(), tmp_path_factory.mktemp("interval")
    async with (
        run_circle(
            ["a.example"],
            [dsn],
            folder,
            others=["peer.example", "other.example"],
            options=lambda _name, _network: {"directory": {"refresh_interval_s": 1}},
        ) as circle,
        run_peer(circle.network, "peer.example") as peer,
        run_peer(circle.network, "other.example") as other,
    ):
        circle.directory.publish("a.example", "peer.example", "other.example")
        hourly = trust_options(circle.network, circle.directory, directory={"refresh_interval_s": 3600})
        second = run_networked(
            circle.network, "a.example", dsn, folder / "a.example", trust=hourly, listener={"port": 0}
        )
        async with second as process:
            circle.network.ports["second"] = int(process.process.web_server.addresses[1].rpartition(":")[2])

            def asking(peer: Peer, server: str) -> Callable[[], Awaitable[int]]:
                async def ask() -> int:
                    destination = {"destination": "a.example", "tls_name": "a.example"}
                    return (await peer.ask(server, "GET", VERSION, **destination))[0]

                return ask

            for each in (peer, other):
                for server in ("a.example", "second"):
                    await eventually(asking(each, server), lambda status: status == 200)
            circle.directory.publish("a.example", "other.example")
            circle.directory.revoke(*circle.network.circle.certified["other.example"])
            for each in (peer, other):
                for server in ("a.example", "second"):
                    await eventually(asking(each, server), lambda status: status == 403, patience_s=6)


async def test_hospitals_talk_on_while_the_directory_is_down(circle: CircleOfTrust) -> None:
    circle.directory.is_down = True
    a, _ = circle.hospitals
    try:
        with pytest.raises(Exception, match="503"):
            await circle.refresh()
        assert await ask(a, "b.example") == "tim-server"
    finally:
        circle.directory.is_down = False
