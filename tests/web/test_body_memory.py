"""What the bodies of requests take is bounded, and given back."""

from typing import Any

import pytest

from tests.eventually import eventually
from tests.web.toy_routes import ROUTES, V3
from tim_server.matrix.errors import LimitExceeded, TooLarge
from tim_server.web.body_memory import FREE_BYTES, BodyMemory

MIB = 2**20


def test_an_address_gets_half_and_all_get_the_whole() -> None:
    memory = BodyMemory(bytes_max=4 * MIB)
    shares = [memory.share(address) for address in ("a", "a", "b", "c")]
    shares[0].take(MIB + FREE_BYTES)
    with pytest.raises(LimitExceeded):
        shares[1].take(MIB + FREE_BYTES + 1)
    shares[2].take(2 * MIB)
    with pytest.raises(LimitExceeded):
        shares[3].take(2 * MIB)
    shares[0].give_back()
    shares[3].take(1)
    shares[1].take(1)


def test_what_is_small_is_not_counted() -> None:
    memory = BodyMemory(bytes_max=2 * MIB)
    memory.share("a").take(MIB)
    memory.share("b").take(MIB)
    memory.share("a").take(FREE_BYTES)
    for _ in range(1_000):
        memory.share("c").take(FREE_BYTES)


def test_what_nobody_may_have_is_too_large_at_once() -> None:
    share = BodyMemory(bytes_max=2 * MIB).share("a")
    with pytest.raises(TooLarge):
        share.take(MIB + FREE_BYTES + 1)


def test_json_of_tiny_objects_is_counted_as_what_it_becomes() -> None:
    memory = BodyMemory(bytes_max=2 * MIB)
    share = memory.share("a")
    share.take_json(b"[" * 11_500)
    with pytest.raises(LimitExceeded):
        memory.share("a").take(3 * FREE_BYTES)
    with pytest.raises(TooLarge):
        memory.share("b").take_json(b'{"a":0},' * 20_000)


async def test_who_sends_much_and_slowly_holds_up_nobody_else(serve: Any) -> None:
    server = await serve(*ROUTES, bodies_bytes_max=MIB)
    path = f"{V3}/rooms/!room:example.org/send/m.room.message/1"
    head = f"PUT {path} HTTP/1.1\r\nHost: example.org\r\nAuthorization: Bearer alice-token\r\n".encode()
    _, slow = await server.connect()
    slow.write(head + b"Content-Length: 1000000\r\n\r\n" + b" " * 500_000)
    await slow.drain()

    async def send_much() -> int:
        return int((await server.request("PUT", path, data=b'{"a":"' + b"x" * 200_000 + b'"}')).status)

    await eventually(send_much, lambda status: status == 429)  # once the slow one has been read so far
    assert (await server.request("PUT", path, json={"body": "small"})).status == 200
    slow.close()
    await eventually(send_much, lambda status: status == 200)
