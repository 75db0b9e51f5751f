"""Which server a request is of, and which it is for: X-Matrix over HTTPS."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import Neighbourhood
from tests.federation.rings import KEYS
from tests.hospitals import Network, run_networked
from tests.peer import Peer, run_peer
from tests.people import Hospital
from tim_server.app import prepare, start_process
from tim_server.matrix.canonical_json import encode
from tim_server.web import pipeline

VERSION = "/_matrix/federation/v1/version"
PROFILE = "/_matrix/federation/v1/query/profile"
SEND = "/_matrix/federation/v1/send"


async def send_raw(neighbourhood: Neighbourhood, request: bytes) -> bytes:
    """The first bytes of the answer to a request of which nothing more is sent."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        neighbourhood.network.ports["a.example"],
        ssl=neighbourhood.network.circle.client_context(),
        server_hostname="a.example",
    )
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(64), 5)
    writer.close()
    return answer


def signed(peer: Peer, method: str, uri: str, content: bytes | None = None) -> str:
    return peer.authorization("a.example", method, uri, content)


@pytest.mark.parametrize(
    ("method", "uri", "content"),
    [
        ("PUT", f"{SEND}/2", {"pdus": []}),
        ("PUT", f"{SEND}/1?x=y", {"pdus": []}),
        ("PUT", f"{SEND}%2F1", {"pdus": []}),
        ("POST", f"{SEND}/1", {"pdus": []}),
        ("PUT", f"{SEND}/1", {"pdus": [], "edus": []}),
        ("PUT", f"{SEND}/1", {}),
        ("PUT", f"{SEND}/1", None),
    ],
)
async def test_a_signature_is_good_for_one_request_only(
    neighbourhood: Neighbourhood, method: str, uri: str, content: Any
) -> None:
    """The request itself is `PUT …/send/1` with an empty list of PDUs."""
    peer = neighbourhood.peer
    header = signed(peer, method, uri, None if content is None else encode(content))
    headers = {"Authorization": header}
    status, answer = await peer.ask("a.example", "PUT", f"{SEND}/1", {"pdus": []}, headers=headers)
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")


async def test_the_signature_is_over_the_target_as_it_was_sent(neighbourhood: Neighbourhood) -> None:
    for odd in (f"{VERSION}?a=%41&b=+&c=%20", f"{VERSION}?", VERSION.replace("federation", "f%65deration")):
        header = signed(neighbourhood.peer, "GET", odd)
        request = f"GET {odd} HTTP/1.1\r\nHost: a.example\r\nAuthorization: {header}\r\n\r\n"
        assert (await send_raw(neighbourhood, request.encode())).startswith(b"HTTP/1.1 200")


async def test_the_form_of_the_body_does_not_matter(neighbourhood: Neighbourhood) -> None:
    edu = {"edu_type": "x", "content": {"ü": [1.5, 10**30, "\0", 1e-7, -0.0]}}
    canonical = json.dumps({"edus": [edu]}, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    content = rb'{"\u00fc": [1.50, %d, "\u0000", 1E-7, -0.0]}' % 10**30
    body = rb'{ "edus": [{"content": %b, "edu_type": "\u0078"}] }' % content
    headers = {"Authorization": signed(neighbourhood.peer, "PUT", f"{SEND}/form", canonical)}
    status, answer = await neighbourhood.peer.ask("a.example", "PUT", f"{SEND}/form", body, headers=headers)
    assert status == 200, answer


async def test_older_servers_do_not_say_whom_a_request_is_for(neighbourhood: Neighbourhood) -> None:
    assert (await neighbourhood.peer.ask("a.example", "GET", VERSION, destination=None))[0] == 200


async def test_nobody_is_this_server_however_its_name_is_spelled(neighbourhood: Neighbourhood) -> None:
    for name in ("a.example", "A.Example"):
        status, answer = await neighbourhood.peer.ask("a.example", "GET", VERSION, origin=name)
        assert (status, answer["error"]) == (401, "The request says to be of this server")


async def test_requests_that_are_refused_count_by_address(tenant_dsn: str, tmp_path: Path) -> None:
    network = Network.of(tmp_path, ["a.example"])
    bucket = {"enabled": True, "federation": {"per_second": 0.1, "burst": 2}}
    async with run_networked(network, "a.example", tenant_dsn, tmp_path, rate_limits=bucket) as hospital:
        for expected in (401, 401, 429):
            async with hospital.session.get(f"{PROFILE}?user_id=@alice:a.example") as response:
                assert response.status == expected


async def test_a_body_that_takes_long_is_paid_for(
    tenant_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody has signed it."""
    monkeypatch.setattr(pipeline, "FREE_S", 0.0)
    monkeypatch.setattr(pipeline, "REQUEST_S", 1e-9)
    network = Network.of(tmp_path, ["a.example", "peer.example"])
    bucket = {"enabled": True, "federation": {"per_second": 10, "burst": 100}}
    async with (
        run_networked(network, "a.example", tenant_dsn, tmp_path, rate_limits=bucket),
        run_peer(network, "peer.example") as peer,
    ):
        forged = {"Authorization": signed(peer, "PUT", f"{SEND}/2")}
        assert (await peer.ask("a.example", "PUT", f"{SEND}/1", {"pdus": []}, headers=forged))[0] == 401
        status, answer = await peer.ask("a.example", "GET", VERSION)
        assert status == 429 and answer["retry_after_ms"] > 1_000


async def test_a_header_that_is_no_text_is_refused(neighbourhood: Neighbourhood) -> None:
    header = b'X-Matrix origin="peer.example",key="ed25519:\xff",sig="x"'
    target = f"{PROFILE}?user_id=@alice:a.example".encode()
    answer = await send_raw(
        neighbourhood, b"GET " + target + b" HTTP/1.1\r\nHost: a.example\r\nAuthorization: " + header + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 401")


async def test_a_server_that_is_not_believed_is_told_before_its_body_is_read(neighbourhood: Neighbourhood) -> None:
    head = f"PUT {SEND}/1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9000000\r\n"
    matrix = 'Authorization: X-Matrix origin="{}",key="ed25519:none",sig="s"\r\n'
    headers = ("", "Authorization: Bearer x\r\n", matrix.format("a.example"), matrix.format("peer.example"))
    for header in headers:
        answer = await send_raw(neighbourhood, f"{head}{header}\r\n{{".encode())
        assert answer.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("method", "uri", "size"),
    [("PUT", f"{SEND}/1", 11 * 2**20), ("POST", "/_matrix/federation/v1/user/keys/query", 2**21)],
)
async def test_bodies_are_bounded_by_route(neighbourhood: Neighbourhood, method: str, uri: str, size: int) -> None:
    header = signed(neighbourhood.peer, method, uri)
    head = f"{method} {uri} HTTP/1.1\r\nHost: a.example\r\nAuthorization: {header}\r\nContent-Length: {size}\r\n\r\n"
    assert (await send_raw(neighbourhood, head.encode() + b"{")).startswith(b"HTTP/1.1 413")


async def test_a_server_is_believed_again_soon_after_it_is_back(neighbourhood: Neighbourhood) -> None:
    """Whose keys could not be had for long is asked for them again when it asks for something itself."""
    keys, peer = neighbourhood.a.process.homeservers[0].federation.keys, neighbourhood.peer
    known = (await keys.memory.load([peer.name]))[peer.name]
    known.keys, known.failures, known.asked_ts = {}, 10, int(time.time() * 1000) - 11_000
    asked = len(peer.asked(KEYS))
    assert (await peer.ask("a.example", "GET", VERSION))[0] == 200
    assert len(peer.asked(KEYS)) == asked + 1


@dataclass
class SharedListener:
    """Two homeservers behind one listener, and a peer; `profile` asks one of them for its user's."""

    peer: Peer

    async def profile(self, tenant: str, **options: Any) -> int:
        path = f"{PROFILE}?user_id=@alice:{tenant}"
        status, _ = await self.peer.ask("north.example", "GET", path, tls_name="north.example", **options)
        return status


@pytest.fixture
async def shared(make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path) -> AsyncIterator[SharedListener]:
    names = ["north.example", "south.example"]
    network = Network.of(tmp_path, [*names, "peer.example"])
    network.ports["south.example"] = network.ports["north.example"]
    north, south = [network.settings(name, await make_tenant_dsn(), tmp_path) for name in names]
    settings = north.model_copy(update={"tenants": (*north.tenants, *south.tenants)})
    await prepare(settings)
    async with (
        start_process(settings) as process,
        aiohttp.ClientSession(f"http://{process.web_server.addresses[0]}") as session,
        run_peer(network, "peer.example") as peer,
    ):
        for name in names:
            session.headers["Host"] = name
            await Hospital(session).person("alice")
        yield SharedListener(peer)


async def test_behind_a_common_host_name_the_destination_says_who_is_meant(shared: SharedListener) -> None:
    delegated = {"Host": "matrix.hosting.example"}
    for tenant in ("north.example", "south.example"):
        assert await shared.profile(tenant, destination=tenant, headers=delegated) == 200
        assert await shared.profile(tenant, destination=tenant, headers={"Host": "north.example"}) == 200
        assert await shared.profile(tenant, destination="elsewhere.example", headers=delegated) == 404
        assert await shared.profile(tenant, headers={**delegated, "Authorization": "X-Matrix"}) == 404
    south = {"Host": "south.example"}
    assert await shared.profile("south.example", destination="north.example", headers=south) != 200
    assert await shared.profile("south.example", destination="elsewhere.example", headers=south) == 401
