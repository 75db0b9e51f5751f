"""Servers that answer whatever they like: whoever asked is told soon that it is no answer, nothing is kept of it, and
memory is bounded whatever comes.

Spec: https://spec.matrix.org/v1.19/server-server-api/
"""

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.peer import Asked, Peer
from tests.peer_room import FEDERATION, PeerRoom
from tests.people import Person
from tests.scenarios.hostile.conftest import PEER, V1
from tests.scenarios.hostile.memory import growth_bytes
from tim_server.services.homeserver import Homeserver

GROWTH_BYTES_MAX = 150 * 2**20
JSON = {"Content-Type": "application/json"}
_numbers = itertools.count()


@pytest.fixture
def peer(neighbourhood: Neighbourhood) -> Iterator[Peer]:
    """The peer, which nobody takes to be down, and which answers nothing yet."""
    neighbourhood.a.process.homeservers[0].federation.client.health.heard_from(neighbourhood.peer.name)
    neighbourhood.peer.requests.clear()
    yield neighbourhood.peer
    neighbourhood.peer.answers.clear()


@pytest.fixture
def server(neighbourhood: Neighbourhood) -> Homeserver:
    return neighbourhood.a.process.homeservers[0].homeserver


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


# Whatever is asked for


@cache
def bomb() -> bytes:
    """Half a megabyte that becomes half a gigabyte."""
    compress = zlib.compressobj(wbits=31)
    return b"".join([compress.compress(b" " * 2**24) for _ in range(32)]) + compress.flush()


async def gzip_bomb(asked: Asked) -> Any:
    return web.Response(body=bomb(), headers={**JSON, "Content-Encoding": "gzip"})


async def endless(asked: Asked) -> Any:
    async def stream() -> AsyncIterator[bytes]:
        yield b'{"a":"'
        for _ in range(3_000):  # 200 MB, else this process would go on for ever itself
            yield b"x" * 2**16
            await asyncio.sleep(0)

    return web.Response(body=stream(), headers=JSON)


async def cut_off(asked: Asked) -> Any:
    async def stream() -> AsyncIterator[bytes]:
        yield b'{"a":'
        raise ConnectionResetError

    return web.Response(body=stream(), headers={**JSON, "Content-Length": "1000"})


async def of(body: bytes, **more: Any) -> Any:
    return web.Response(body=body, **{"content_type": "application/json", **more})


MALICE: dict[str, Callable[[Asked], Awaitable[Any]]] = {
    "a gzip bomb": gzip_bomb,
    "an answer without end": endless,
    "an answer that is cut off": cut_off,
    "a page": lambda asked: of(b"<html>Welcome</html>", content_type="text/html"),
    "an array": lambda asked: of(b"[1, {}]"),
    "a redirect": lambda asked: of(b"", status=302, headers={"Location": "https://127.0.0.1:1/"}),
    "a status that there is not": lambda asked: of(b"{}", status=799),
    "tiny arrays": lambda asked: of(b'{"a":[' + b"[]," * 1_000_000 + b"0]}"),
    "arrays in arrays": lambda asked: of(b'{"a":[' + (b"[" * 100 + b"]" * 100 + b",") * 20_000 + b"0]}"),
    "deep JSON": lambda asked: of(b'{"a":' * 200_000),
    "numbers without end": lambda asked: of(b'{"a":' + b"1" * 1_000_000 + b"}"),
    "a header without end": lambda asked: of(b"{}", headers={"X-Long": "x" * 1_000_000}),
    "bytes that are no text": lambda asked: of(b'{"a":"\xff\xfe"}'),
}


async def ask_profile(alice: Person, peer: Peer, answer: Any) -> tuple[int, Any]:
    peer.answers["GET", f"{V1}/query/profile"] = answer
    return await alice.request("GET", f"profile/@user{next(_numbers)}:{PEER}")


async def ask_alias(alice: Person, peer: Peer, answer: Any) -> tuple[int, Any]:
    peer.answers["GET", f"{V1}/query/directory"] = answer
    return await alice.request("GET", f"directory/room/{quote(f'#alias{next(_numbers)}:{PEER}')}")


async def ask_public_rooms(alice: Person, peer: Peer, answer: Any) -> tuple[int, Any]:
    peer.answers["POST", f"{V1}/publicRooms"] = answer
    return await alice.request("GET", "publicRooms", server=PEER)


async def ask_template(alice: Person, peer: Peer, answer: Any) -> tuple[int, Any]:
    peer.answers["GET", f"{V1}/make_join/*"] = answer
    return await alice.request("POST", f"join/!room{next(_numbers)}:{PEER}?via={PEER}", {})


async def ask_join(alice: Person, peer: Peer, answer: Any) -> tuple[int, Any]:
    room = PeerRoom.create(peer.author)
    room.serve(peer)
    peer.answers["PUT", f"{FEDERATION}/v2/send_join/{room.room_id}/*"] = answer
    return await alice.request("POST", f"join/{room.room_id}?via={PEER}", {})


async def ask_invite(alice: Person, peer: Peer, answer: Any) -> tuple[int, Any]:
    peer.answers["PUT", f"{FEDERATION}/v2/invite/*"] = answer
    room_id = await alice.create_room()
    return await alice.request("POST", f"rooms/{room_id}/invite", {"user_id": f"@user{next(_numbers)}:{PEER}"})


async def ask_keys(alice: Person, peer: Peer, answer: Any) -> tuple[int, Any]:
    peer.answers["POST", f"{V1}/user/keys/query"] = answer
    told = await alice.post("keys/query", {"device_keys": {f"@user{next(_numbers)}:{PEER}": []}})
    assert not told["device_keys"]
    return (502, told) if PEER in told["failures"] else (200, told)


async def claim_keys(alice: Person, peer: Peer, answer: Any) -> tuple[int, Any]:
    peer.answers["POST", f"{V1}/user/keys/claim"] = answer
    wanted = {f"@user{next(_numbers)}:{PEER}": {"D": "signed_curve25519"}}
    told = await alice.post("keys/claim", {"one_time_keys": wanted})
    assert not told["one_time_keys"]
    return (502, told) if PEER in told["failures"] else (200, told)


QUESTIONS = [
    ask_profile,
    ask_alias,
    ask_public_rooms,
    ask_template,
    ask_join,
    ask_invite,
    ask_keys,
    claim_keys,
]
TOLERATED = {("tiny arrays", "ask_profile")}
"""An object, and a profile may have any field that is not too large."""


@pytest.mark.parametrize("ask", QUESTIONS, ids=lambda ask: ask.__name__)
@pytest.mark.parametrize("malice", MALICE)
async def test_what_is_no_answer_is_told_as_such(
    alice: Person, peer: Peer, malice: str, ask: Callable[[Person, Peer, Any], Awaitable[tuple[int, Any]]]
) -> None:
    bomb()
    async with asyncio.timeout(60):
        with growth_bytes() as growth:
            status, answer = await ask(alice, peer, MALICE[malice])
    assert status == 502 or (status == 200 and (malice, ask.__name__) in TOLERATED), (status, answer)
    assert growth() < GROWTH_BYTES_MAX
    sync = await alice.sync_now()
    assert all(PEER not in room_id for room_id in sync.get("rooms", {}).get("join", {}))
