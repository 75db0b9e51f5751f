"""Hospitals of a circle talk to servers whose organisation certificate verifies, both ways, and stop when it no longer
does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.certificates import CLIENT, DAY, HOUR, NOW, Certified, KeyUses, make_ca, make_certificate
from tests.circle_of_trust import CircleOfTrust, run_circle
from tests.eventually import eventually
from tests.hospitals import run_networked
from tests.peer import Peer, run_peer
from tim_server.egress.errors import ContactRefused, RemoteUnreachable
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.signatures import SigningKey
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.server_keys import TIME_MS_MAX, ServerKey
from tim_server.services.trust.vouched_keys import VouchedKeys
from tim_server.storage.trust_decisions import DecisionFilter

VERSION = "/_matrix/federation/v1/version"
KEYS = "/_matrix/key/v2/server"
PEER = "peer.example"


@pytest.fixture(scope="module")
async def circle(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CircleOfTrust]:
    """Hospitals a.example and b.example; the directory lists peer.example too, which a test plays."""
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    async with run_circle(["a.example", "b.example"], dsns, tmp_path_factory.mktemp("circle"), others=[PEER]) as circle:
        circle.directory.publish("a.example", "b.example", PEER)
        await circle.refresh()
        yield circle


@pytest.fixture(autouse=True)
async def as_at_the_beginning(circle: CircleOfTrust) -> None:
    """Nobody is revoked, and the pause after a server was asked for its keys in vain is over."""
    circle.directory.is_down = False
    circle.directory.revoke()
    await refresh_lists(circle)
    forget_pauses(circle)


def forget_pauses(circle: CircleOfTrust) -> None:
    keys = circle.hospitals[0].process.homeservers[0].federation.proofs.request_keys
    assert isinstance(keys, VouchedKeys)
    keys._asked_ms.clear()


async def refresh_lists(circle: CircleOfTrust) -> None:
    """Have a.example fetch the revocation lists now, rather than at its interval."""
    sources = circle.hospitals[0].process.homeservers[0].federation.trust.sources
    assert sources is not None
    await sources.lists.refresh(pause_ms=0)


async def ask(circle: CircleOfTrust, asked: str = PEER) -> Any:
    """What a.example is told by another server."""
    federation = circle.hospitals[0].process.homeservers[0].federation
    return await federation.client.get(ServerName(asked), VERSION)


async def refusals(circle: CircleOfTrust, point: str) -> list[str]:
    """The reasons for which a.example has refused the peer at a choke point."""
    review = circle.hospitals[0].process.homeservers[0].homeserver.trust_review
    page = await review.decisions(DecisionFilter(server_name=PEER, point=point), limit=100)
    return [decision.reason for _, decision in page.decisions]


def answers(peer: Peer) -> Peer:
    peer.answers["GET", VERSION] = {"server": {"name": "peer"}}
    return peer


OTHER = make_ca("another authority")
BAD: dict[str, tuple[Callable[[CircleOfTrust], Certified], str]] = {
    "expired": (lambda c: c.network.circle.certify(PEER, not_after=NOW - HOUR), "expired"),
    "not yet valid": (lambda c: c.network.circle.certify(PEER, not_before=NOW + DAY), "not yet valid"),
    "another name's": (lambda c: c.network.circle.certify("a.example"), "Hostname mismatch"),
    "a wildcard's": (lambda c: c.network.circle.certify("*.example"), "Hostname mismatch"),
    "for clients": (lambda c: c.network.circle.certify(PEER, usages=(CLIENT,)), "unsuitable certificate purpose"),
    "for encryption": (
        lambda c: c.network.circle.certify(PEER, key_uses=KeyUses(digital_signature=False, encipherment=True)),
        "",
    ),
    "another authority's": (lambda _: make_certificate(OTHER, [PEER]), "unable to get local issuer certificate"),
    "self-signed": (lambda _: make_certificate(None, [PEER]), "self-signed certificate"),
    "without a revocation list": (lambda c: c.network.circle.certify(PEER, crl_urls=[]), "no valid revocation list"),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=list(BAD))
async def test_a_server_whose_certificate_is_not_right_is_neither_asked_nor_heard(
    circle: CircleOfTrust, make: Callable[[CircleOfTrust], Certified], reason: str
) -> None:
    async with run_peer(circle.network, PEER, certified=make(circle)) as peer:
        answers(peer)
        with pytest.raises((ContactRefused, RemoteUnreachable), match=r"certificate|reached"):
            await ask(circle)
        status, answer = await peer.ask("a.example", "GET", VERSION)
        assert (status, answer["errcode"]) in ((403, "M_FORBIDDEN"), (401, "M_UNAUTHORIZED"))
        assert peer.requests == []

        async def told() -> list[str]:
            return [each for each in await refusals(circle, "outgoing connection") if reason in each]

        assert not reason or await eventually(told)


async def test_a_revoked_server_is_cut_off_both_ways_over_connections_that_exist(circle: CircleOfTrust) -> None:
    async with run_peer(circle.network, PEER) as peer:
        answers(peer)
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 200
        assert await ask(circle) == {"server": {"name": "peer"}}
        circle.directory.revoke(*circle.network.circle.certified[PEER])
        await refresh_lists(circle)
        count = len(peer.requests)
        status, answer = await peer.ask("a.example", "GET", VERSION)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
        with pytest.raises(ContactRefused, match="revoked"):
            await ask(circle)
        assert len(peer.requests) == count


async def test_another_hospitals_certificate_does_not_do(circle: CircleOfTrust) -> None:
    """A member can't play another one, though it has a good certificate."""
    stolen = circle.network.circle.certify("b.example")
    async with run_peer(circle.network, PEER, certified=stolen) as peer:
        with pytest.raises((ContactRefused, RemoteUnreachable)):
            await ask(circle)
        assert peer.requests == []


async def test_a_key_that_the_server_does_not_publish_itself_is_not_believed(circle: CircleOfTrust) -> None:
    """Whoever has a key of the peer's, and a notary or an older memory that tells it, gets nowhere without the peer."""
    async with run_peer(circle.network, PEER) as peer:
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 200
        federation = circle.hospitals[0].process.homeservers[0].federation
        key = peer.author.key
        remembered = ServerKey(verify_key=key.verify_key, valid_until_ts=TIME_MS_MAX)
        known = (await federation.keys.memory.load([ServerName(PEER)]))[ServerName(PEER)]
        known.keys = {key.key_id: remembered, "ed25519:impostor": remembered}
        for _ in range(2):
            status, answer = await peer.ask("a.example", "GET", VERSION, key_id="ed25519:impostor")
            assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")
        assert len(peer.asked(KEYS)) == 1  # and it is not asked again and again


async def test_a_server_is_not_asked_for_its_keys_again_for_each_spelling_of_its_name(circle: CircleOfTrust) -> None:
    """Anybody can make up requests of a member; they must not be a way to wear it down."""
    async with run_peer(circle.network, PEER) as peer:
        for spelling in (PEER, "PEER.example", "peer.EXAMPLE", "Peer.Example"):
            status, _ = await peer.ask("a.example", "GET", VERSION, origin=spelling, key_id="ed25519:impostor")
            assert status == 401
        assert len(peer.asked(KEYS)) == 1
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 200
        assert len(peer.asked(KEYS)) == 1


async def test_a_renewed_certificate_and_a_new_key_are_taken(circle: CircleOfTrust) -> None:
    async with run_peer(circle.network, PEER) as peer:
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 200
    circle.directory.revoke(*circle.network.circle.certified[PEER])
    await refresh_lists(circle)
    async with run_peer(circle.network, PEER, seed=8) as peer:
        new_key = SigningKey(key_id="ed25519:new", key=peer.author.key.key)
        peer.author = Author(server_name=peer.name, key=new_key)
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 200


async def test_members_talk_on_while_directory_and_lists_are_down(circle: CircleOfTrust) -> None:
    await ask(circle, "b.example")
    circle.directory.is_down = True
    await refresh_lists(circle)
    assert (await ask(circle, "b.example"))["server"]["name"] == "tim-server"


async def test_after_a_restart_while_all_else_is_down_members_are_still_heard(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Directory, lists and the keys that a certificate vouched for come from the database."""
    dsn, folder = await make_tenant_dsn(), tmp_path_factory.mktemp("restart")
    async with run_circle(["c.example"], [dsn], folder, others=[PEER]) as circle:
        circle.directory.publish("c.example", PEER)
        await circle.refresh()
        async with run_peer(circle.network, PEER) as peer:
            assert (await peer.ask("c.example", "GET", VERSION))[0] == 200
    connector = aiohttp.TCPConnector(ssl=circle.network.circle.client_context())
    async with (
        run_networked(circle.network, "c.example", dsn, folder / "c.example", trust=circle.options("c.example")),
        aiohttp.ClientSession(connector=connector) as peer.session,
    ):
        assert (await peer.ask("c.example", "GET", VERSION))[0] == 200
