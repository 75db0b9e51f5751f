"""Mutual TLS between hospitals: natively, and behind a reverse proxy that hands on the client's certificate."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.certificates import CLIENT, HOUR, NOW, Certified, make_ca, make_certificate
from tests.circle_of_trust import CircleOfTrust, run_circle
from tests.hospitals import Network
from tests.peer import Peer, run_peer
from tim_server.matrix.identifiers import ServerName

PEER = "peer.example"
VERSION = "/_matrix/federation/v1/version"
HEADER = "Client-Cert"

MakeDsn = Callable[[], Awaitable[str]]


def mutual(name: str, network: Network) -> Mapping[str, Any]:
    """Present the certificate of the listener, and ask others for theirs."""
    folder = network.circle.folder
    return {
        "mutual_tls": {
            "required": True,
            "certificate": str(folder / f"{name}.pem"),
            "private_key": str(folder / f"{name}.key.pem"),
        }
    }


@pytest.fixture(scope="module")
async def circle(make_tenant_dsn: MakeDsn, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CircleOfTrust]:
    """Hospitals a.example and b.example that ask each other for certificates; peer.example is listed too."""
    async with run_circle(
        ["a.example", "b.example"],
        [await make_tenant_dsn(), await make_tenant_dsn()],
        tmp_path_factory.mktemp("mutual"),
        others=[PEER],
        options=mutual,
        listener={"tls": {"request_client_certificates": True}},
    ) as circle:
        circle.directory.publish("a.example", "b.example", PEER)
        await circle.refresh()
        yield circle


@asynccontextmanager
async def peer_with(circle: CircleOfTrust, certified: Certified | None) -> AsyncIterator[Peer]:
    """The listed peer, which presents this certificate when it connects."""
    context = circle.network.circle.client_context(certified)
    async with (
        run_peer(circle.network, PEER) as peer,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as peer.session,
    ):
        yield peer


async def test_hospitals_that_ask_each_other_for_certificates_talk(circle: CircleOfTrust) -> None:
    a, b = circle.hospitals
    for asking, asked in ((a, b), (b, a)):
        client = asking.process.homeservers[0].federation.client
        assert (await client.get(ServerName(asked.name), VERSION))["server"]["name"] == "tim-server"


async def test_a_server_that_presents_its_certificate_is_heard(circle: CircleOfTrust) -> None:
    async with peer_with(circle, circle.network.circle.certify(PEER)) as peer:
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 200


def connect_and_ask(circle: CircleOfTrust, context: ssl.SSLContext, header: str, session: Any) -> tuple[bytes, Any]:
    """The first bytes of an answer, and the TLS session, which may go on from an earlier one."""
    address = ("127.0.0.1", circle.network.ports["a.example"])
    with (
        socket.create_connection(address) as raw,
        context.wrap_socket(raw, server_hostname="a.example", session=session) as connection,
    ):
        connection.sendall(f"GET {VERSION} HTTP/1.1\r\nHost: a.example\r\nAuthorization: {header}\r\n\r\n".encode())
        return connection.recv(12), connection.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_who_goes_on_with_an_earlier_tls_session_has_presented_its_certificate(
    circle: CircleOfTrust, version: ssl.TLSVersion
) -> None:
    """As reverse proxies in front of other servers do."""
    context = circle.network.circle.client_context(circle.network.circle.certify(PEER))
    context.maximum_version = version
    async with run_peer(circle.network, PEER) as peer:
        header, session = peer.authorization("a.example", "GET", VERSION), None
        for _ in range(3):
            answer, session = await asyncio.to_thread(connect_and_ask, circle, context, header, session)
            assert answer == b"HTTP/1.1 200"


async def test_a_server_that_presents_none_is_refused(circle: CircleOfTrust) -> None:
    async with peer_with(circle, None) as peer:
        status, answer = await peer.ask("a.example", "GET", VERSION)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
        assert peer.requests == []


async def test_the_certificate_must_be_that_of_the_origin(circle: CircleOfTrust) -> None:
    async with peer_with(circle, circle.network.circle.certify("b.example")) as peer:
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 403
    async with peer_with(circle, circle.network.circle.certify(PEER)) as peer:
        status, _ = await peer.ask("a.example", "GET", VERSION, origin="b.example")
        assert status == 403


async def test_what_tls_does_not_verify_does_not_even_connect(circle: CircleOfTrust) -> None:
    for certified in (
        make_certificate(make_ca("another"), [PEER]),
        circle.network.circle.certify(PEER, not_after=NOW - HOUR),
    ):
        async with peer_with(circle, certified) as peer:
            with pytest.raises(aiohttp.ClientError):
                await peer.ask("a.example", "GET", VERSION)


async def test_a_revoked_certificate_is_refused_on_a_connection_that_exists(circle: CircleOfTrust) -> None:
    certified = circle.network.circle.certify(PEER)
    async with peer_with(circle, certified) as peer:
        assert (await peer.ask("a.example", "GET", VERSION))[0] == 200
        circle.directory.revoke(certified)
        sources = circle.hospitals[0].process.homeservers[0].federation.trust.sources
        assert sources is not None
        await sources.lists.refresh(pause_ms=0)
        status, answer = await peer.ask("a.example", "GET", VERSION)
        assert (status, "revoked" in answer["error"]) == (403, True)


# Behind a reverse proxy


@pytest.fixture(scope="module")
async def proxied(make_tenant_dsn: MakeDsn, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CircleOfTrust]:
    """A hospital whose reverse proxy, on loopback, speaks TLS and hands certificates on."""
    async with run_circle(
        ["c.example"],
        [await make_tenant_dsn()],
        tmp_path_factory.mktemp("proxied"),
        others=[PEER],
        options=mutual,
        listener={"tls": None, "client_certificate_header": HEADER},
    ) as circle:
        circle.directory.publish("c.example", PEER)
        await circle.refresh()
        yield circle


async def through_proxy(circle: CircleOfTrust, *certificates: str) -> tuple[int, Any]:
    """A request of the peer's as the proxy hands it on, with these headers."""
    async with run_peer(circle.network, PEER) as peer:
        port = circle.network.ports["c.example"]
        headers = [("Authorization", peer.authorization("c.example", "GET", VERSION)), ("Host", "c.example")]
        headers += [(HEADER, value) for value in certificates]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{VERSION}", headers=headers) as response,
        ):
            return response.status, await response.json()


def handed_on(certified: Certified) -> str:
    return f":{base64.b64encode(certified.der).decode()}:"


async def test_the_certificate_that_a_proxy_hands_on_counts(proxied: CircleOfTrust) -> None:
    circle = proxied.network.circle
    assert (await through_proxy(proxied, handed_on(circle.certify(PEER))))[0] == 200
    for refused in (
        [],
        [""],
        [handed_on(circle.certify("c.example"))],
        [handed_on(circle.certify(PEER, not_after=NOW - HOUR))],
        [handed_on(make_certificate(make_ca("another"), [PEER], (CLIENT,)))],
        ["nonsense"],
        [handed_on(circle.certify(PEER)), handed_on(circle.certify(PEER))],
    ):
        status, answer = await through_proxy(proxied, *refused)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN"), refused


async def test_a_client_that_sends_the_header_itself_is_refused(
    make_tenant_dsn: MakeDsn, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with run_circle(
        ["c.example"],
        [await make_tenant_dsn()],
        tmp_path_factory.mktemp("direct"),
        others=[PEER],
        options=mutual,
        listener={"tls": None, "client_certificate_header": HEADER, "trusted_proxies": ["192.0.2.0/24"]},
    ) as circle:
        circle.directory.publish("c.example", PEER)
        await circle.refresh()
        status, answer = await through_proxy(circle, handed_on(circle.network.circle.certify(PEER)))
        assert (status, "reverse proxies" in answer["error"]) == (403, True)
